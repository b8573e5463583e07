package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

// aQueue is a queue that has some jobs.
type aQueue struct {
	view   mirror.View
	gone   bool
	err    error
	looked atomic.Int32
}

func (q *aQueue) There() bool { return !q.gone }

func (q *aQueue) View(context.Context) (*mirror.View, error) {
	q.looked.Add(1)
	v := q.view
	return &v, q.err
}

// evil is a name that would be an element, end a line, and turn the text around.
const evil = "<script>alert(1)</script>\x1b[31m\u202e\"'&\nx"

func (w *world) aQueue(n int) *aQueue {
	now := time.Now().Add(-time.Hour)
	q := &aQueue{view: mirror.View{Hosts: map[string]mirror.Hold{evil: {Until: now.Add(2 * time.Hour)}},
		Bad: []mirror.Problem{{Path: "/srv/" + evil, Err: errors.New(evil)}}}}
	job := func(id string, s mirror.State, f func(*mirror.Seen)) {
		j := mirror.Seen{Job: mirror.Job{ID: id, State: s, Created: now, Want: mirror.Want{Canonical: "hub.example.com/" + id}}}
		if f != nil {
			f(&j)
		}
		q.view.Jobs = append(q.view.Jobs, j)
	}
	job("running001", mirror.Running, func(j *mirror.Seen) {
		j.Phase, j.BytesDone, j.BytesTotal = mirror.Copying, 1<<20, 3<<20
	})
	job("orphaned01", mirror.Running, func(j *mirror.Seen) { j.Orphaned = true })
	job("waiting001", mirror.Waiting, func(j *mirror.Seen) { j.Reason, j.Until = mirror.Retry, now.Add(time.Minute) })
	job("failed0001", mirror.Failed, func(j *mirror.Seen) {
		j.Canonical, j.Class, j.Error, j.Digest = evil, "digest", evil+strings.Repeat("y", 5000), "sha256:"+evil
		j.Requesters = []mirror.Requester{{Who: evil}, {Who: "b"}}
	})
	job("gone000001", mirror.Staged, func(j *mirror.Seen) { j.Gone = true })
	for i := range n {
		job(fmt.Sprintf("pending%03d", i), mirror.Pending, nil)
	}
	w.server.Mirror = q
	return q
}

func TestQueuePage(t *testing.T) {
	w := streams(t, "symlink")
	w.image("20260101", "one")
	w.promote()
	w.keep()
	w.reach(1)
	if r := w.admin("/-/queue"); r.StatusCode != 404 {
		t.Errorf("without a mirror: %s", r.Status)
	}
	q := w.aQueue(250)
	r := w.admin("/-/queue")
	if r.StatusCode != 200 || wellFormed(r.body) != nil {
		t.Fatalf("%s, %v", r.Status, wellFormed(r.body))
	}
	text := content(r.body)
	for _, want := range []string{"2 running", "250 pending", "1.0 MiB of 3.0 MiB", "its runner is gone", "until <time",
		"is not in staging any more", "hub.example.com/pending094", "1 to 100 of 255", "and 1 more", "&lt;script&gt;",
		">failed</span>", `aria-current="page">Queue`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, not := range []string{"<script", "\x1b", "\u202e", strings.Repeat("y", 400), "pending095"} {
		if strings.Contains(text, not) {
			t.Errorf("the page has %q", not)
		}
	}
	if n := q.looked.Load(); n != 1 {
		t.Errorf("it was looked at %d times", n)
	}
	if r := w.admin("/-/queue?q=PENDING24&page=7"); strings.Count(r.body, "hub.example.com/pending24") != 10 {
		t.Errorf("the filter finds %s", content(r.body))
	}
	if r := w.admin("/-/queue?page=3"); !strings.Contains(r.body, "201 to 255 of 255") {
		t.Errorf("the last page is %s", content(r.body))
	}
	var list []mirror.Seen
	r = w.admin("/-/queue.json")
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || len(list) != 255 || !list[1].Orphaned {
		t.Errorf("the twin: %v, %d jobs", err, len(list))
	}
	// Nobody else sees anything of it.
	for _, path := range []string{"/-/queue", "/-/queue.json"} {
		if r := w.get(path); r.StatusCode != 404 {
			t.Errorf("the public listener has %s: %s", path, r.Status)
		}
	}
	for _, path := range []string{"/-/", "/-/history", "/-/status.json"} {
		if r := w.get(path); strings.Contains(strings.ToLower(content(r.body)), "queue") ||
			strings.Contains(r.body, `"mirror"`) {
			t.Errorf("%s names the queue: %s", path, content(r.body))
		}
	}
	if r := w.admin("/-/"); !strings.Contains(r.body, `href="../-/queue"`) {
		t.Error("the first page has no link to it")
	}
	q.gone = true
	if r := w.admin("/-/"); strings.Contains(r.body, `-/queue"`) {
		t.Error("the first page has a link to a queue that is not there")
	}
}

// A queue that cannot be read costs nothing else.
func TestQueuePageFails(t *testing.T) {
	w := streams(t, "symlink", "serve: {pages: all}")
	w.image("20260101", "one")
	w.promote()
	w.keep()
	w.reach(1)
	q := w.aQueue(0)
	q.err = errors.New("denied")
	if r := w.get("/-/queue"); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("it is %s", r.Status)
	}
	if r := w.get("/-/"); r.StatusCode != 200 {
		t.Errorf("the first page is %s", r.Status)
	}
}

// What status says of the mirror is for those who see all.
func TestStatusWithoutMirror(t *testing.T) {
	o := overview{Overview: &publish.Overview{Status: &publish.Status{Production: &publish.Production{},
		Mirror: &publish.MirrorState{Due: 1}}}}
	if st := (&asked{}).status(o); st.Mirror != nil {
		t.Errorf("a public listener says %+v", st.Mirror)
	}
	if st := (&asked{all: true}).status(o); st.Mirror == nil {
		t.Error("the admin listener says nothing")
	}
}
