package mirror

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish/fault"
)

func TestWayOfAJob(t *testing.T) {
	w := newWorld(t)
	if jobs, bad, err := w.List(); len(jobs) != 0 || len(bad) != 0 || err != nil {
		t.Fatalf("a queue that is not there has %v, %v, %v", jobs, bad, err)
	}
	if _, err := os.Lstat(w.dir); err == nil {
		t.Fatal("reading made the queue")
	}
	j := w.add("alpine:3.20")
	if !isID(j.ID) || j.State != Pending || !j.Created.Equal(w.clock.now()) {
		t.Errorf("the new job is %+v", j)
	}
	w.clock.move(time.Second)
	c := w.claim()
	if second, err := w.again().Claim(ctx, nil); second != nil || err != nil {
		t.Errorf("it is claimed twice: %v, %v", second, err)
	}
	must(t, c.Update(func(j *Job) { j.Digest, j.BytesTotal = "sha256:abc", 7 }))
	c.Progress(5)
	c.Step(Copying)
	got := w.get(j.ID[:4])
	if got.State != Running || got.Phase != Copying || got.BytesDone != 5 || got.Attempts != 1 || !w.Held(j.ID) {
		t.Errorf("it runs as %+v", got)
	}
	must(t, c.Release(Retry, w.clock.now().Add(time.Minute), func(j *Job) { j.Error, j.BytesDone = "cut", 5 }))
	if err := c.Finish(Staged, nil); !errors.Is(err, errOver) {
		t.Errorf("what was released can be finished: %v", err)
	}
	if c, err := w.Claim(ctx, nil); c != nil || err != nil {
		t.Errorf("a job that waits is claimed: %v, %v", c, err)
	}
	w.clock.move(time.Minute)
	c = w.claim()
	must(t, c.Finish(Staged, func(j *Job) { j.Address = "images.example.com/alpine:3.20" }))
	got = w.get(j.ID)
	if got.State != Staged || got.Attempts != 2 || !got.Finished.Equal(w.clock.now()) || got.Error != "" {
		t.Errorf("it ends as %+v", got)
	}
	_, err := w.Amend(ctx, j.ID, func(j *Job) error { j.State, j.Generation = Published, "7"; return nil })
	must(t, err)
	want := []string{"added alice", "running ", "pinned ", "waiting ", "running ", "staged ", "published "}
	if diff := cmp.Diff(want, w.events(j.ID)); diff != "" {
		t.Error(diff)
	}
	left, err := os.ReadDir(w.path("running"))
	if must(t, err); len(left) > 0 {
		t.Errorf("running has %v", left)
	}
}

func (w *world) events(id string) (list []string) {
	w.Helper()
	for e, err := range w.History(id) {
		must(w, err)
		list = append(list, e.Event+" "+e.Who)
	}
	return list
}

func TestOrder(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for _, r := range []struct {
		name     string
		priority int
	}{{"b", 0}, {"a", 0}, {"urgent", 5}, {"c", 0}, {"late", -1}} {
		req := want(r.name)
		req.Priority = r.priority
		j, _, err := w.Add(ctx, req)
		must(t, err)
		ids = append(ids, j.ID)
		w.clock.move(time.Second)
	}
	refused := 0
	c, err := w.Claim(ctx, func(j Job) bool { refused++; return j.Reference == "c" })
	must(t, err)
	if c.Job().Reference != "c" || refused != 4 {
		t.Errorf("%s is claimed after %d", c.Job().Reference, refused)
	}
	var order []string
	for range 4 {
		order = append(order, w.claim().Job().Reference)
	}
	if got := strings.Join(order, " "); got != "urgent b a late" {
		t.Errorf("the order is %s", got)
	}
	_ = ids
}

func TestSameIsOne(t *testing.T) {
	w := newWorld(t)
	base := want("alpine")
	base.Platforms = []string{"linux/arm64", "linux/amd64"}
	first, _, err := w.Add(ctx, base)
	must(t, err)
	for _, c := range []struct {
		name string
		edit func(*Request)
		same bool
	}{
		{"again", func(*Request) {}, true},
		{"written otherwise", func(r *Request) { r.Reference = "docker://alpine" }, true},
		{"platforms in another order", func(r *Request) { r.Platforms = []string{"linux/amd64", "linux/arm64"} }, true},
		{"by another", func(r *Request) { r.By.Who, r.Priority = "bob", 3 }, true},
		{"all platforms", func(r *Request) { r.Platforms = nil }, false},
		{"another name", func(r *Request) { r.Canonical += ":3" }, false},
		{"locked", func(r *Request) { r.Locked = true }, false},
		{"with drift", func(r *Request) { r.AcceptDrift = true }, false},
		{"filtered", func(r *Request) { r.Filters = []string{"arch=amd64"} }, false},
		{"newest", func(r *Request) { r.Versions = 1 }, false},
	} {
		r := base
		c.edit(&r)
		j, existed, err := w.Add(ctx, r)
		must(t, err)
		if existed != c.same || (j.ID == first.ID) != c.same {
			t.Errorf("%s: existed %t, id %s", c.name, existed, j.ID)
		}
	}
	j := w.get(first.ID)
	if len(j.Requesters) != 2 || j.Requesters[1].Who != "bob" || j.Priority != 3 {
		t.Errorf("requesters %v, priority %d", j.Requesters, j.Priority)
	}
	c := w.claim() // the first one: its priority rose
	if c.Job().ID != first.ID {
		t.Errorf("%s is claimed", c.Job().Canonical)
	}
	base.By.Who = "carol"
	if j, existed, err := w.again().Add(ctx, base); !existed || err != nil || j.State != Running {
		t.Errorf("a running job is asked for: %v, %t, %v", j.State, existed, err)
	}
	must(t, c.Finish(Staged, nil))
	if j := w.get(first.ID); len(j.Requesters) != 3 {
		t.Errorf("the runner loses who joined: %v", j.Requesters)
	}
	if j, existed, err := w.Add(ctx, base); existed || err != nil || j.ID == first.ID {
		t.Errorf("after the end: %s, %t, %v", j.ID, existed, err)
	}
}

func TestAddAll(t *testing.T) {
	w := newWorld(t)
	w.add("b")
	w.clock.move(time.Second)
	added, err := w.AddAll(ctx, []Request{want("c"), want("b"), want("a"), want("c")})
	must(t, err)
	var existed []bool
	for _, a := range added {
		existed = append(existed, a.Existed)
	}
	if diff := cmp.Diff([]bool{false, true, false, true}, existed); diff != "" {
		t.Error(diff)
	}
	if added[0].Job.ID != added[3].Job.ID {
		t.Error("the same twice makes two jobs")
	}
	var order string
	for range 3 {
		order += w.claim().Job().Reference
	}
	if order != "bca" {
		t.Errorf("the order is %s", order)
	}
	if _, err := w.AddAll(ctx, []Request{{By: alice()}}); kindOf(err) != fault.Usage {
		t.Errorf("nothing is added: %v", err)
	}
	long := want(strings.Repeat("x", maxWant))
	if _, _, err := w.Add(ctx, long); kindOf(err) != fault.Usage {
		t.Errorf("a long name is added: %v", err)
	}
}
