package generation

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/publish/stage/catalog"
)

func sumOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// flipped is data with one bit of it wrong: none that would only turn a digit
// of a checksum into the other case.
func flipped(data []byte, at uint) []byte {
	out := bytes.Clone(data)
	out[at%uint(len(out))] ^= 1
	return out
}

// FuzzManifest: a manifest is read without a crash; what is accepted is safe and
// survives being written again; sealed text of which one bit is wrong is
// refused. No fuzzer finds a checksum, so the target seals what it is given: all
// between the first line and the seal.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"generation":1}`+"\nown content 3 "+sumOf("x")+" images/a b\ncarried 2 link 0 "+sumOf("")+" l\nbarred mutable 1 "+sumOf("y")+" .x\n"), uint(30))
	f.Fuzz(func(t *testing.T, body []byte, at uint) {
		if m, err := Decode(body); err == nil {
			t.Fatalf("what nobody sealed is %+v", m)
		}
		data := slices.Concat([]byte(manifestMagic), body)
		data = fmt.Appendf(data, "end %x\n", sha256.Sum256(data))
		if m, err := Decode(flipped(data, at)); err == nil {
			t.Fatalf("one bit is wrong: %+v", m)
		}
		m, err := Decode(data)
		if err != nil {
			return
		}
		rows := slices.Concat(slices.Collect(m.All()), m.Barred)
		for _, row := range rows {
			if p, _, ok := catalog.Clean(row.Path); !ok || p != row.Path || row.Size < 0 || len(row.SHA256) != 64 {
				t.Errorf("%+v", row)
			}
		}
		var again bytes.Buffer
		if err := m.Encode(&again); err != nil {
			return // a time that JSON can carry in one direction only
		}
		back, err := Decode(again.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, back, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}
