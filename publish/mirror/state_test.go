package mirror

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

func TestStateOf(t *testing.T) {
	p := newPlace(t, "mirror: {registries: {docker.io: {endpoints: ['https://one.example.com', 'https://two.example.com']}}}")
	state := func() *publish.MirrorState {
		t.Helper()
		s, err := StateOf(p.clock.now)(p.Repo)
		must(t, err)
		return s
	}
	if s := state(); s != nil {
		t.Fatalf("without a queue: %+v", s)
	}
	w := &world{t, p.Queue, p.clock}
	asked := want("first")
	w.add("first")
	start := p.clock.now()
	want := &publish.MirrorState{Jobs: map[string]int{}, Failed: map[string]int{}, Hosts: map[string]time.Time{},
		Damaged: []string{}, Due: 1, DueSince: &start, Oldest: &start}
	for _, s := range States() {
		want.Jobs[string(s)] = 0
	}
	want.Jobs["pending"] = 1
	check := func(what string) {
		t.Helper()
		if diff := cmp.Diff(want, state()); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	check("a pending job")

	p.clock.move(time.Minute)
	c := w.claim()
	must(t, c.Update(func(j *Job) { j.BytesTotal, j.BytesDone = 70, 20 }))
	want.Due, want.DueSince, want.Jobs["pending"], want.Jobs["running"] = 0, nil, 0, 1
	want.BytesDone, want.BytesTotal = 20, 70
	check("one that runs")

	at := p.clock.now()
	c.die()
	want.Due, want.DueSince, want.Orphaned = 1, &at, 1
	check("one whose runner died")

	_, err := w.Recover(ctx)
	must(t, err)
	c = w.claim()
	until := p.clock.now().Add(time.Hour)
	must(t, c.Release(Retry, until, nil))
	want.Due, want.DueSince, want.Orphaned, want.Jobs["running"], want.Jobs["waiting"] = 0, nil, 0, 0, 1
	want.BytesDone, want.BytesTotal = 0, 0
	check("one that waits")
	p.clock.move(2 * time.Hour)
	want.Due, want.DueSince = 1, &until
	check("one that waited")

	for _, host := range []string{"one.example.com", "two.example.com"} {
		must(t, p.Hosts.Block(host, p.clock.now().Add(time.Minute), ""))
		want.Hosts[host] = p.clock.now().Add(time.Minute)
		if host == "two.example.com" { // the last that could be asked
			want.Due, want.DueSince = 0, nil
		}
		check(host + " waits")
	}
	p.clock.move(time.Hour)
	want.Hosts = map[string]time.Time{}
	failed := w.claim()
	must(t, failed.Finish(Failed, func(j *Job) { j.Class = catalog.NotFound }))
	want.Jobs["waiting"], want.Jobs["failed"], want.Failed["not-found"], want.Oldest = 0, 1, 1, nil
	check("a failed one")

	p.clock.move(time.Hour)
	w.add("first")
	must(t, w.claim().Finish(Staged, nil))
	end := p.clock.now()
	want.Failed, want.Jobs["staged"], want.LastSuccess = map[string]int{}, 1, &end
	check("one whose image came later")

	p.clock.move(time.Hour)
	w.add("first")
	must(t, w.claim().Finish(Failed, func(j *Job) { j.Class = catalog.Drift }))
	want.Failed["drift"], want.Jobs["failed"] = 1, 2
	check("one that is locked to what is gone")
	p.clock.move(time.Hour)
	follow := asked
	follow.AcceptDrift = true
	_, _, err = w.Add(ctx, follow)
	must(t, err)
	must(t, w.claim().Finish(Staged, nil))
	end = p.clock.now()
	want.Failed, want.Jobs["staged"] = map[string]int{}, 2
	check("one that was followed")

	must(t, os.WriteFile(w.file(pendingIn, "bcdfghjkmn"), []byte("{"), 0o644))
	want.Damaged = []string{w.file(pendingIn, "bcdfghjkmn") + ": is no job: unexpected end of JSON input"}
	check("a damaged file")
}

// A failed job can be taken off.
func TestCancelFailed(t *testing.T) {
	w := newWorld(t)
	id := w.add("a").ID
	must(t, w.claim().Finish(Failed, nil))
	j, err := w.Cancel(ctx, id, alice())
	if err != nil || j.State != Cancelled || w.get(id).State != Cancelled {
		t.Errorf("it is %+v, %v", j, err)
	}
	if _, err := os.Lstat(w.file(failedIn, id)); !errors.Is(err, os.ErrNotExist) {
		t.Error("its file is still with the failed ones")
	}
}

// A server sees the jobs in the order in which people look for them, and writes nothing.
func TestReader(t *testing.T) {
	p := newPlace(t, "")
	r := NewReader(p.Repo, p.clock.now)
	if v, err := r.View(ctx); r.There() || err != nil || len(v.Jobs) > 0 {
		t.Errorf("without a queue: %+v, %v", v, err)
	}
	w := &world{t, p.Queue, p.clock}
	for _, state := range []State{Cancelled, Failed, Superseded} {
		w.add(string(state))
		p.clock.move(time.Minute)
		must(t, w.claim().Finish(state, nil))
	}
	w.add("waiting")
	must(t, w.claim().Release(Retry, p.clock.now().Add(time.Hour), nil))
	w.add("running")
	w.claim().die()
	w.add("pending")
	p.clock.move(time.Minute)
	urgent := want("urgent")
	urgent.Priority = 5
	_, _, err := w.Add(ctx, urgent)
	must(t, err)
	must(t, os.WriteFile(w.file(doneIn, "bcdfghjkmn"), nil, 0o644))
	must(t, p.Hosts.Block("far.example.com", p.clock.now().Add(MaxHold), ""))
	p.clock.move(-48 * time.Hour) // what All would write down
	before, err := os.ReadFile(dir(p.Repo, "hosts.json"))
	must(t, err)
	v, err := r.View(ctx)
	must(t, err)
	var order []string
	for _, j := range v.Jobs {
		order = append(order, j.Reference)
	}
	if diff := cmp.Diff([]string{"running", "urgent", "pending", "waiting", "failed", "superseded", "cancelled"},
		order); diff != "" {
		t.Error(diff)
	}
	if !v.Jobs[0].Orphaned || len(v.Bad) != 1 || len(v.Hosts) != 1 {
		t.Errorf("it sees %+v", v)
	}
	if after, err := os.ReadFile(dir(p.Repo, "hosts.json")); err != nil || string(after) != string(before) {
		t.Errorf("it wrote %s, %v", after, err)
	}
}
