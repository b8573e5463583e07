package mirror

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestForeignFiles(t *testing.T) {
	w := newWorld(t)
	id := w.add("good").ID
	good, err := os.ReadFile(w.file(pendingIn, id))
	must(t, err)
	other := strings.Repeat("b", idLength)
	files := map[string][]byte{
		"pending/notes.txt":          []byte("hello"),
		"pending/" + other + ".json": good, // a copy under another name
		"done/cccccccccc.json":       make([]byte, 500),
		"done/dddddddddd.json":       bytes.Repeat([]byte(" "), maxJob+1),
		"failed/ffffffffff.json":     good[:len(good)/2],
		"running/gggggggggg.json":    nil,
		"running/x.lock":             nil,
	}
	for name, data := range files {
		must(t, os.WriteFile(w.path(name), data, 0o644))
	}
	must(t, os.Mkdir(w.path("failed", "hhhhhhhhhh.json"), 0o755))
	must(t, os.Symlink("/etc/passwd", w.path("pending", "jjjjjjjjjj.json")))
	must(t, os.WriteFile(w.path("pending", ".editor.swp"), nil, 0o644))
	jobs, bad, err := w.List()
	must(t, err)
	if len(jobs) != 1 || jobs[0].ID != id || len(bad) != len(files)+2 {
		t.Errorf("listed %v; problems: %v", jobs, bad)
	}
	for _, b := range bad {
		if !strings.HasPrefix(b.Error(), w.dir) || strings.Count(b.Error(), w.dir) != 1 {
			t.Errorf("a problem reads %q", b.Error())
		}
	}
	if _, err := w.Get(other); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("a damaged job: %v", err)
	}
	back, err := w.Recover(ctx)
	must(t, err)
	if len(back) > 0 {
		t.Errorf("recovered %v", back)
	}
	if c := w.claim(); c.Job().ID != id {
		t.Errorf("claimed %s", c.Job().ID)
	}
	for name := range files {
		if _, err := os.Lstat(w.path(name)); err != nil {
			t.Error(err)
		}
	}
}

// A person may move the file of a job by hand.
func TestMovedByHand(t *testing.T) {
	w := newWorld(t)
	w.add("a")
	c := w.claim()
	must(t, c.Finish(Failed, func(j *Job) { j.Class = "limit" }))
	id := c.Job().ID
	must(t, os.Rename(w.file(failedIn, id), w.file(pendingIn, id)))
	if j := w.get(id); j.State != Pending || !j.Finished.IsZero() {
		t.Errorf("in pending it is %+v", j)
	}
	c = w.claim()
	if c.Job().ID != id {
		t.Error("it cannot be claimed")
	}
	must(t, os.Remove(w.file(runningIn, id)))
	if err := c.Finish(Staged, nil); err == nil {
		t.Error("a removed job ends well")
	}
	c.die()
}

func TestFurtherFolderCounts(t *testing.T) {
	w := newWorld(t)
	id := w.add("a").ID
	data, err := os.ReadFile(w.file(pendingIn, id))
	must(t, err)
	must(t, w.claim().Finish(Staged, nil))
	for _, f := range []folder{pendingIn, runningIn, failedIn} {
		must(t, os.WriteFile(w.file(f, id), data, 0o644))
	}
	if got := w.states(); got["a"] != Staged || w.get(id).State != Staged {
		t.Errorf("listed as %v", got)
	}
	if c, err := w.again().Claim(ctx, nil); c != nil || err != nil {
		t.Errorf("claimed: %v, %v", c, err)
	}
	must(t, os.WriteFile(w.file(pendingIn, id), data, 0o644))
	if j, existed, err := w.again().Add(ctx, want("a")); existed || err != nil || j.ID == id {
		t.Errorf("joined: %v, %t, %v", j.ID, existed, err)
	}
	_, err = w.Recover(ctx)
	must(t, err)
	for _, f := range []folder{pendingIn, runningIn, failedIn} {
		if _, err := os.Lstat(w.file(f, id)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has it", f)
		}
	}
}

func TestHistoryTorn(t *testing.T) {
	whole := func(w *world) []byte {
		data, err := os.ReadFile(w.partPath(1))
		must(w, err)
		return data
	}
	for _, c := range []struct {
		name string
		tear func([]byte) []byte
		bad  int // damaged lines that stay
		lost bool
	}{
		{"as it should be", func(b []byte) []byte { return b }, 0, false},
		{"without its newline", func(b []byte) []byte { return b[:len(b)-1] }, 0, true},
		{"half a line", func(b []byte) []byte { return b[:len(b)-40] }, 0, true},
		{"zeros after it", func(b []byte) []byte { return append(b, make([]byte, 9000)...) }, 0, false},
		{"a line of zeros", func(b []byte) []byte { return append(b, "\x00\x00\n"...) }, 1, false},
		{"another line", func(b []byte) []byte { return append(b, "hello\n"...) }, 1, false},
		{"a long line", func(b []byte) []byte {
			return append(append(b, bytes.Repeat([]byte("x"), 3*maxLine)...), '\n')
		}, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.add("a")
			w.add("b")
			must(t, os.WriteFile(w.partPath(1), c.tear(whole(w)), 0o644))
			read := func() (good, bad int) {
				for _, err := range w.History("") {
					if err != nil {
						bad++
					} else {
						good++
					}
				}
				return good, bad
			}
			left := 2
			if c.lost {
				left = 1
			}
			if good, bad := read(); good != left || bad != c.bad {
				t.Errorf("%d good, %d bad lines", good, bad)
			}
			w.add("c")
			if good, bad := read(); good != left+1 || bad != c.bad {
				t.Errorf("then %d good, %d bad lines", good, bad)
			}
		})
	}
	w := newWorld(t)
	w.add("a")
	must(t, os.Remove(w.partPath(1)))
	w.add("b")
	if bytes.Count(whole(w), []byte("\n")) != 1 {
		t.Error("a removed history is not begun anew")
	}
	must(t, w.Note(ctx, Event{Event: "denied", Who: "bob", Reference: "x", Detail: "not allowed"}))
	if got := w.events(""); got[len(got)-1] != "denied bob" {
		t.Errorf("the events are %v", got)
	}
}

// What strangers say must fit, whatever it is.
func TestEncodeFits(t *testing.T) {
	nasty := strings.Repeat("\"\\\u2028\x00\xff<", 10000)
	j := Job{ID: newID(), Want: Want{Reference: strings.Repeat("\"", maxWant/2-100), Canonical: "x"}, State: Failed,
		Error: nasty, Hint: nasty, Digest: nasty, MediaType: nasty, Endpoint: nasty, Address: nasty, Generation: nasty}
	must(t, j.check())
	for range 1000 {
		j.Requesters = append(j.Requesters, Requester{Who: nasty, Via: nasty, Note: nasty})
		j.MissingPlatforms = append(j.MissingPlatforms, nasty)
	}
	data, err := j.encode()
	must(t, err)
	got, err := decode(data, j.ID, failedIn)
	must(t, err)
	again, err := got.encode()
	must(t, err)
	if !bytes.Equal(data, again) {
		t.Error("it changes when it is read")
	}
}

func TestJobFile(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 5, time.FixedZone("", 3600))
	j := Job{ID: "bcdfghjkmn", Want: Want{Reference: "alpine", Canonical: "docker.io/library/alpine:latest", Kind: "oci",
		Platforms: []string{"linux/amd64"}}, State: Waiting, Reason: RateLimit, Until: at, Created: at, Updated: at,
		Requesters: []Requester{{Who: "alice", At: at, Via: "add"}}, Drift: &Moved{"sha256:a", "sha256:b"}}
	data, err := j.encode()
	must(t, err)
	want := `{"id":"bcdfghjkmn","reference":"alpine","canonical":"docker.io/library/alpine:latest","kind":"oci",` +
		`"platforms":["linux/amd64"],"state":"waiting","reason":"rate-limit","until":"2026-03-01T12:00:00.000000005Z",` +
		`"priority":0,"requesters":[{"who":"alice","at":"2026-03-01T12:00:00.000000005Z","via":"add"}],"attempts":0,` +
		`"bytes_total":0,"bytes_done":0,"drift":{"from":"sha256:a","to":"sha256:b"},` +
		`"created":"2026-03-01T12:00:00.000000005Z","updated":"2026-03-01T12:00:00.000000005Z"}` + "\n"
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Error(diff)
	}
}

func FuzzJob(f *testing.F) {
	const id = "bcdfghjkmn"
	at := time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	for _, s := range []State{Pending, Waiting, Running, Staged, Failed} {
		data, err := Job{ID: id, Want: Want{Reference: "a", Canonical: "b"}, State: s, Until: at, Created: at}.encode()
		must(f, err)
		for in := range folders {
			f.Add(data, in)
		}
	}
	f.Add([]byte(`{"id":"bcdfghjkmn","requesters":null,"until":"9999-12-31T23:59:59Z","platforms":["\ud800"]}`), 0)
	f.Fuzz(func(t *testing.T, data []byte, in int) {
		if in < 0 || in >= len(folders) {
			return
		}
		j, err := decode(data, id, folder(in))
		if err != nil {
			return
		}
		if folderOf(j.State) != folder(in) || j.ID != id {
			t.Errorf("in %v it is %s", folder(in), j.State)
		}
		out, err := j.encode()
		if err != nil || len(out) > maxJob {
			t.Fatalf("%d bytes, %v", len(out), err)
		}
		again, err := decode(out, id, folder(in))
		must(t, err)
		if twice, err := again.encode(); err != nil || !bytes.Equal(out, twice) {
			t.Errorf("it changes when it is written twice: %s, then %s", out, twice)
		}
		_ = j.due(at)
		_ = j.key()
	})
}

// A clock that was set back makes no wait longer than twice, and none shorter.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	id := w.add("a").ID
	must(t, w.claim().Release(Retry, w.clock.now().Add(time.Hour), nil))
	w.clock.move(-1000 * time.Hour)
	none := func() {
		t.Helper()
		if c, err := w.again().Claim(ctx, nil); c != nil || err != nil {
			t.Fatalf("claimed: %v, %v", c, err)
		}
	}
	none()
	if j := w.get(id); !j.Until.Equal(w.clock.now().Add(time.Hour)) {
		t.Errorf("it waits until %v", j.Until)
	}
	w.clock.move(59 * time.Minute)
	none()
	w.clock.move(time.Minute)
	if c := w.claim(); c.Job().ID != id {
		t.Error("another job")
	}
}

func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	w.add("a")
	stop, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := w.Add(stop, want("b")); !errors.Is(err, context.Canceled) {
		t.Errorf("Add: %v", err)
	}
	if c, err := w.Claim(stop, nil); c != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Claim: %v, %v", c, err)
	}
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newID()
		if !isID(id) || strings.ContainsAny(id, "aeioul") || seen[id] {
			t.Fatalf("the id %q", id)
		}
		seen[id] = true
	}
	for _, name := range []string{"", "x.json", "bcdfghjkmn", "bcdfghjkmn.json.json", "BCDFGHJKMN.json",
		".bcdfghjkmn.json"} {
		if _, ok := jobID(name); ok {
			t.Errorf("%q is the name of a job", name)
		}
	}
	if id, ok := jobID(filepath.Join("x", "bcdfghjkmn.json")); !ok || id != "bcdfghjkmn" {
		t.Errorf("%q, %t", id, ok)
	}
}

// A process that lists again sees what changed meanwhile in jobs that ended.
func TestListAgain(t *testing.T) {
	w := newWorld(t)
	id := w.add("a").ID
	must(t, w.claim().Finish(Failed, nil))
	other := w.again()
	old := func() { // so that its state tells whether it changed
		long := time.Now().Add(-time.Hour)
		for _, f := range []folder{failedIn, doneIn} {
			_ = os.Chtimes(w.file(f, id), long, long)
		}
	}
	for i, change := range []func(){
		func() {},
		func() { _, err := other.Amend(ctx, id, func(j *Job) error { j.Error = "x"; return nil }); must(t, err) },
		func() { _, err := other.Retry(ctx, id, alice()); must(t, err) },
		func() { must(t, other.claim().Finish(Staged, nil)) },
		func() {
			_, err := other.Amend(ctx, id, func(j *Job) error { j.State = Published; return nil })
			must(t, err)
		},
		func() { must(t, os.Remove(w.file(doneIn, id))) },
	} {
		for range 3 {
			old()
			got, _, err := w.List()
			must(t, err)
			want, _, err := w.again().List()
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("before change %d: %s", i, diff)
			}
		}
		change()
	}
	if jobs, _, err := w.List(); len(jobs) > 0 || err != nil || len(w.past.jobs) > 0 {
		t.Errorf("what is gone is listed: %v, %v", jobs, err)
	}
}
