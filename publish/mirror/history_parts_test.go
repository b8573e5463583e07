package mirror

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small begins a new file of the history with each line.
func (w *world) small() *world {
	w.partSize = 1
	return w
}

func (w *world) note(text string) {
	w.Helper()
	must(w, w.Note(ctx, Event{Event: "denied", Detail: text}))
}

// details are those of all events that a reader finds, and how many lines are damaged.
func (w *world) details() (list []string, bad int) {
	for e, err := range w.History("") {
		if err != nil {
			bad++
			continue
		}
		list = append(list, e.Detail)
	}
	return list, bad
}

// since are the details of the events after a place, and the place after them.
func (w *world) since(at Cursor) (list []string, next Cursor) {
	w.Helper()
	for {
		events, next, err := w.Since(ctx, at)
		must(w, err)
		if len(events) == 0 {
			return list, next
		}
		for _, e := range events {
			list = append(list, e.Detail)
		}
		at = next
	}
}

func TestHistoryParts(t *testing.T) {
	w := newWorld(t).small()
	if list, bad := w.details(); len(list) > 0 || bad > 0 {
		t.Errorf("an empty history has %v", list)
	}
	at := Cursor{}
	var want []string
	for i := range 12 {
		text := fmt.Sprint(i)
		want = append(want, text)
		w.note(text)
		got, next := w.again().since(at)
		if diff := cmp.Diff([]string{text}, got); diff != "" {
			t.Errorf("Since says %s", diff)
		}
		at = next
	}
	if list, err := w.parts(); len(list) != 12 || err != nil {
		t.Errorf("the files are %v, %v", list, err)
	}
	if got, bad := w.details(); !slices.Equal(got, want) || bad > 0 {
		t.Errorf("History says %v", got)
	}
	if got, next := w.since(Cursor{}); !slices.Equal(got, want) || next != at {
		t.Errorf("Since the beginning: %v, %v, not %v", got, next, at)
	}
	if end, err := w.End(); err != nil || end != at {
		t.Errorf("the end is %v, %v, not %v", end, err, at)
	}
	// One that is not long is gone on with, also by others.
	w.partSize = partBytes
	w.note("same")
	w.again().note("same")
	if list, _ := w.parts(); len(list) != 12 {
		t.Errorf("the files are %v", list)
	}
}

// A place that is not there any more loses nothing of what is there.
func TestSinceAfterChanges(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world)
		at     Cursor
		want   string
	}{
		{"nothing", func(*world) {}, Cursor{}, "a b c"},
		{"a file is gone", func(w *world) { must(w, os.Remove(w.partPath(1))) }, Cursor{}, "b c"},
		{"its file is gone", func(w *world) { must(w, os.Remove(w.partPath(2))) }, Cursor{2, 7}, "c"},
		{"all after it are gone", func(w *world) {
			must(w, os.Remove(w.partPath(2)))
			must(w, os.Remove(w.partPath(3)))
		}, Cursor{3, 50}, "a"},
		{"all are gone", func(w *world) {
			for n := range 3 {
				must(w, os.Remove(w.partPath(n+1)))
			}
		}, Cursor{3, 50}, ""},
		{"it is no end of a line", func(*world) {}, Cursor{2, 7}, "b c"},
		{"it is after the end", func(*world) {}, Cursor{3, 7000}, "c"},
		{"it is nonsense", func(*world) {}, Cursor{2, -7}, "b c"},
		{"a damaged line", func(w *world) {
			must(w, os.WriteFile(w.partPath(2), []byte("hello\n"), 0o644))
		}, Cursor{}, "a c"},
		{"a torn line", func(w *world) {
			data, err := os.ReadFile(w.partPath(3))
			must(w, err)
			must(w, os.WriteFile(w.partPath(3), append(data, "12345"...), 0o600))
		}, Cursor{2, 0}, "b c"},
		{"foreign files", func(w *world) {
			for _, name := range []string{"history", "history.1", "history.000004.gz", "history.-00001", "history.000000"} {
				must(w, os.WriteFile(w.path(name), []byte("hello\n"), 0o644))
			}
		}, Cursor{}, "a b c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t).small()
			for _, text := range []string{"a", "b", "c"} {
				w.note(text)
			}
			c.change(w)
			got, next := w.since(c.at)
			if strings.Join(got, " ") != c.want {
				t.Errorf("Since says %v, not %s", got, c.want)
			}
			w.note("d")
			if got, _ := w.since(next); !slices.Equal(got, []string{"d"}) {
				t.Errorf("then Since says %v", got)
			}
		})
	}
}

// The line of a change is there whatever is killed, and the next one can be written.
func TestHistoryKilled(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld(t)
		w.note("a")
		w.small()
		reached := w.kill(n)
		err := w.Note(ctx, Event{Event: "denied", Detail: "b"})
		if !reached() {
			must(t, err)
			if n < 4 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		got, bad := w.again().details()
		if len(got) == 0 || got[0] != "a" || bad > 0 {
			t.Errorf("killed at step %d: %v, %d damaged", n, got, bad)
		}
		a := w.again().small()
		a.note("c")
		again, next := a.since(Cursor{})
		if !slices.Equal(again, append(got, "c")) {
			t.Errorf("killed at step %d: %v, then %v", n, got, again)
		}
		if end, err := a.End(); err != nil || next != end {
			t.Errorf("killed at step %d: Since ends at %v, not %v, %v", n, next, end, err)
		}
	}
}

// Who reads while others write sees each event once, in order.
func TestSinceWhileWriting(t *testing.T) {
	w := newWorld(t)
	w.partSize = 2000
	const writers, each = 3, 100
	var all sync.WaitGroup
	for i := range writers {
		q := w.again()
		q.partSize = w.partSize
		all.Go(func() {
			for n := range each {
				if err := q.Note(ctx, Event{Event: "denied", Who: fmt.Sprint(i), Detail: fmt.Sprint(n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got, at := map[string]int{}, Cursor{}
	for seen := 0; seen < writers*each && !t.Failed(); {
		events, next, err := w.Since(ctx, at)
		must(t, err)
		for _, e := range events {
			if e.Detail != fmt.Sprint(got[e.Who]) {
				t.Fatalf("%s says %s, not %d", e.Who, e.Detail, got[e.Who])
			}
			got[e.Who]++
			seen++
		}
		at = next
		if _, bad := w.details(); bad > 0 {
			t.Fatal("a reader sees damaged lines")
		}
	}
	all.Wait()
	if events, _, err := w.Since(ctx, at); len(events) > 0 || err != nil {
		t.Errorf("then there are %v, %v", events, err)
	}
}

// Many events come in several answers.
func TestSinceMany(t *testing.T) {
	w := newWorld(t)
	var list []Event
	for i := range 2*maxSince + 5 {
		list = append(list, Event{Event: "denied", Detail: fmt.Sprint(i)})
	}
	must(t, w.change(ctx, func() error { return w.record(list...) }))
	events, next, err := w.Since(ctx, Cursor{})
	if must(t, err); len(events) != maxSince || events[1].At.Offset == 0 {
		t.Errorf("%d events", len(events))
	}
	if rest, _ := w.since(next); len(rest) != maxSince+5 || rest[0] != fmt.Sprint(maxSince) {
		t.Errorf("then %d events", len(rest))
	}
}
