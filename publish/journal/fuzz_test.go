package journal

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/publish/stage/durable/durabletest"
)

// FuzzHistory gets the texts of the lines, and seals them.
func FuzzHistory(f *testing.F) {
	var text []byte
	for _, e := range []Event{
		{Head{Time: epoch, Kind: KindPromote, Generation: 1, Origin: 1, Who: "x", Message: "é \u2028"}, &Switch{}},
		{Head{Time: epoch, Kind: KindGC, Generation: 1}, &Freed{Generations: []int{1}}},
		{Head{Time: epoch, Kind: KindPin, Generation: 1}, &Pin{}},
		{Head{Time: epoch, Kind: KindRevert, Generation: 3, From: 2, Origin: 1}, &Switch{Grace: 1 << 62}},
	} {
		line, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		text = append(append(text, line...), '\n')
	}
	f.Add(string(text), uint(3))
	f.Add("{}\nnull\n[]\n", uint(0))
	f.Fuzz(func(t *testing.T, text string, at uint) {
		Parse([]byte(text))
		data := durabletest.Lines(text)
		h := Parse(data)
		if n := strings.Count(string(data), "\n"); !h.Torn && len(h.Events)+len(h.Bad) != n &&
			(h.Newer == 0 || len(h.Events)+len(h.Bad) > n) {
			t.Fatalf("%d lines, %d events, damaged %v, the first of a newer version is %d", n, len(h.Events), h.Bad,
				h.Newer)
		}
		h.Last()
		h.Before(1)
		h.Hold()
		h.Pin(1)
		h.Newest()
		if again, ok := h.text(); ok {
			if twice, _ := Parse(durabletest.Lines(again)).text(); twice != again {
				t.Errorf("%s\nbecame\n%s", again, twice)
			}
		}
		if len(h.Bad) > 0 || h.Torn || len(data) == 0 {
			return
		}
		// Cut anywhere, a history is a beginning of itself; with a bit wrong it
		// is damaged, or torn where that bit made the last line so.
		cut := Parse(data[:at%uint(len(data))])
		if len(cut.Bad) > 0 || !cmp.Equal(cut.Events, h.Events[:len(cut.Events)], cmpopts.EquateEmpty()) {
			t.Errorf("cut: %+v", cut)
		}
		if wrong := Parse(durabletest.Flipped(data, at)); len(wrong.Bad) == 0 && !wrong.Torn {
			t.Errorf("one bit is wrong: %q", durabletest.Flipped(data, at))
		}
	})
}

// text returns the lines of the history without their seals; false if a time does
// not survive encoding and decoding as JSON.
func (h *History) text() (string, bool) {
	var b strings.Builder
	for _, e := range h.Events {
		line, err := json.Marshal(e)
		if err != nil {
			return "", false
		}
		b.Write(append(line, '\n'))
	}
	return b.String(), true
}
