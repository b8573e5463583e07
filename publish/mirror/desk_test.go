package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

const allowed = "mirror: {requests: {directory: requests}, allow: [\"hub/**\"]}"

// file puts a request there, as others should: written under another name, then renamed.
func (p *place) file(name, text string) {
	p.Helper()
	at := p.requests(name)
	must(p, os.MkdirAll(filepath.Dir(at), 0o755))
	must(p, os.WriteFile(at+".tmp", []byte(text), 0o644))
	must(p, os.Rename(at+".tmp", at))
}

func (p *place) requests(parts ...string) string {
	return filepath.Join(append([]string{p.Repo.Dir, "requests"}, parts...)...)
}

// answer reads the answer to a request.
func (p *place) answer(name string) Answer {
	p.Helper()
	data, err := os.ReadFile(p.requests("answers", name+".json"))
	must(p, err)
	var a Answer
	must(p, json.Unmarshal(data, &a))
	return a
}

// glances is a desk that looks n times.
func (p *place) glances(n int) *desk {
	p.Helper()
	d := p.newDesk()
	for range n {
		d.glance(ctx)
	}
	return d
}

// left are the names in the directory of requests, without answers.
func (p *place) left() (names []string) {
	p.Helper()
	list, err := os.ReadDir(p.requests())
	must(p, err)
	for _, e := range list {
		if e.Name() != answersIn {
			names = append(names, e.Name())
		}
	}
	return names
}

func (p *place) jobs() []Job {
	p.Helper()
	jobs, bad, err := p.Queue.List()
	must(p, err)
	if len(bad) > 0 {
		p.Fatal(bad)
	}
	return jobs
}

func TestRequestByFile(t *testing.T) {
	p := newPlace(t, allowed)
	p.hub.image("hub/app:v1", "one")
	p.file("ask.yaml", "reference: hub/app:v1\nnote: for the build\n")
	p.once()
	a := p.answer("ask.yaml")
	j := p.jobs()[0]
	if a.State != Staged || a.ID != j.ID || len(a.IDs) != 1 || a.References[0].Digest != j.Digest ||
		a.References[0].Address != "docker.io/hub/app:v1" || a.References[0].Pinned != "docker.io/hub/app@"+j.Digest {
		t.Errorf("the answer is %+v", a)
	}
	if r := j.Requesters[0]; r.Who == "" || r.Via != "file" || r.Note != "for the build" {
		t.Errorf("the requester is %+v", r)
	}
	if left := p.left(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	fi, err := os.Stat(p.requests("answers", "ask.yaml.json"))
	must(t, err)
	if fi.Mode().Perm() != 0o644 {
		t.Errorf("the answer has mode %v", fi.Mode())
	}
	p.promote()
	p.once()
	if a := p.answer("ask.yaml"); a.State != Published || a.References[0].Pinned != "docker.io/hub/app@"+j.Digest {
		t.Errorf("after promote: %+v", a)
	}
	// The same again is another job, which has nothing to fetch.
	p.file("ask.yaml", "references: [hub/app:v1]\nrequester: bob\n")
	p.once()
	if a := p.answer("ask.yaml"); a.ID == j.ID || a.Requester != "bob" {
		t.Errorf("asked again: %+v", a)
	}
	// Answers go when their jobs do.
	p.clock.move(KeptDone + time.Hour)
	_, err = p.Queue.Sweep(ctx)
	must(t, err)
	p.glances(1)
	if _, err := os.Stat(p.requests("answers", "ask.yaml.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the answer is still there: %v", err)
	}
}

// One file asks for several: each is decided for itself.
func TestRequestStates(t *testing.T) {
	p := newPlace(t, allowed)
	p.hub.image("hub/app:v1", "one")
	p.file("many", `references: ["hub/app:v1", "other/app:v1", "hub/none:v1", "nothing"]`)
	p.once()
	a := p.answer("many")
	var got []string
	for _, r := range a.References {
		got = append(got, fmt.Sprint(r.Reference, " ", r.State, " ", r.Class, " ", r.Reason))
	}
	want := []string{"hub/app:v1 staged  ", "other/app:v1 denied  may not come: mirror.allow does not have it",
		"hub/none:v1 failed not-found ", "nothing denied  nothing: has no tag; give it a tag"}
	if !slices.Equal(got, want) || a.State != Failed || len(a.IDs) != 4 {
		t.Errorf("%s %q\n%q", a.State, a.Reason, got)
	}
	// A failed one that is tried again is answered again.
	p.hub.image("hub/none:v1", "two")
	_, err := p.Queue.Retry(ctx, a.References[2].ID, alice())
	must(t, err)
	p.once()
	if r := p.answer("many").References[2]; r.State != Staged || r.Error != "" {
		t.Errorf("after retry: %+v", r)
	}
}

func TestRequestDenied(t *testing.T) {
	p := newPlace(t, allowed)
	p.file("unknown", "reference: hub/app:v1\nrefs: []\n")
	p.file("empty", "")
	p.file("large", "note: "+strings.Repeat("x", MaxRequest))
	p.file("platform", "reference: hub/app:v1\nplatforms: ['']\n")
	p.file("versions", "reference: hub/app:v1\nversions: 3\n")
	p.glances(1)
	for name, want := range map[string]string{"unknown": `line 2: unknown key "refs"`, "empty": "is empty",
		"large": "is larger than 64 KiB", "platform": "is no platform",
		"versions": "images of format oci have no versions to select from"} {
		a := p.answer(name)
		if a.State != Denied || a.Reason != want || len(a.IDs) != 1 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if left := p.left(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	denied := 0
	for e, err := range p.Queue.History("") {
		must(t, err)
		if e.Event == string(Denied) && e.Via == "file" && e.Detail != "" {
			denied++
		}
	}
	if denied != 5 {
		t.Errorf("the history has %d", denied)
	}
	// Requests need an allow that names them.
	p = newPlace(t, "mirror: {requests: {directory: requests}}")
	p.file("x", "reference: hub/app:v1\n")
	p.glances(1)
	if a := p.answer("x"); a.State != Denied || !strings.Contains(a.Reason, "mirror.allow is empty") {
		t.Errorf("%+v", a)
	}
}

// What is no request is left alone, with one warning.
func TestRequestForeign(t *testing.T) {
	p := newPlace(t, allowed)
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	must(t, os.MkdirAll(p.requests("folder"), 0o755))
	must(t, syscall.Mkfifo(p.requests("pipe"), 0o644))
	must(t, os.Symlink(filepath.Join(p.Repo.Dir, "publish.yaml"), p.requests("link")))
	must(t, os.WriteFile(p.requests("a\x1bb"), []byte("reference: hub/app:v1"), 0o644))
	for _, name := range []string{".hidden", "x.part", "y.tmp"} {
		must(t, os.WriteFile(p.requests(name), []byte("reference: hub/app:v1"), 0o644))
	}
	d := p.glances(3)
	if len(warned) != 4 || len(p.left()) != 7 || len(p.jobs()) != 0 {
		t.Errorf("%q, left %q, jobs %v", warned, p.left(), p.jobs())
	}
	if slices.ContainsFunc(warned, func(s string) bool { return strings.Contains(s, "\x1b") }) {
		t.Errorf("%q", warned)
	}
	// They hold up nothing.
	p.file("ask", "reference: hub/app:v1")
	d.glance(ctx)
	if len(p.jobs()) != 1 || len(warned) != 4 {
		t.Errorf("%v %q", p.jobs(), warned)
	}
}

// Whoever may write into the directory can not lead answers elsewhere.
func TestRequestLinked(t *testing.T) {
	p := newPlace(t, allowed)
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	out := t.TempDir()
	must(t, os.Mkdir(p.requests(), 0o755))
	must(t, os.Symlink(out, p.requests(answersIn)))
	p.file("ask", "reference: hub/app:v1")
	p.glances(2)
	if list, err := os.ReadDir(out); err != nil || len(list) > 0 || len(warned) != 1 {
		t.Errorf("%v %v %q", list, err, warned)
	}
	must(t, os.Remove(p.requests(answersIn)))
	p.glances(1)
	if a := p.answer("ask"); a.State != Pending {
		t.Errorf("%+v", a)
	}
}

// Many files: some at a time, the oldest first.
func TestRequestMany(t *testing.T) {
	p := newPlace(t, allowed)
	const n = 2*maxTaken + 5
	for i := range n {
		name := fmt.Sprintf("r%04d", n-i)
		p.file(name, fmt.Sprintf("reference: hub/app:v%d", i))
		must(t, os.Chtimes(p.requests(name), time.Time{}, time.Unix(int64(1000+i), 0)))
	}
	d := p.newDesk()
	for k, want := range []int{n - maxTaken, n - 2*maxTaken, 0} {
		p.clock.move(time.Second)
		more := d.glance(ctx)
		if left := p.left(); len(left) != want || more != (want > 0) {
			t.Errorf("glance %d: %d left, more %t", k, len(left), more)
		}
		if jobs := p.jobs(); jobs[0].Canonical != "hub/app:v0" {
			t.Errorf("the first is %s", jobs[0].Canonical)
		}
	}
	p.file("large", "references: [hub/a:1"+strings.Repeat(", 'hub/a:1'", 99)+"]")
	d.glance(ctx)
	if a := p.answer("large"); len(a.IDs) != 1 || len(a.References) != 100 || a.State != Pending {
		t.Errorf("%d ids, %d references, %s", len(a.IDs), len(a.References), a.State)
	}
}

// A file that cannot be removed is answered once.
func TestRequestStays(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root removes all")
	}
	p := newPlace(t, allowed)
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	p.file("ask", "reference: hub/app:v1")
	must(t, os.Mkdir(p.requests(answersIn), 0o755))
	must(t, os.Chmod(p.requests(), 0o555))
	defer os.Chmod(p.requests(), 0o755)
	p.glances(3)
	p.glances(3)
	if len(p.jobs()) != 1 || len(p.jobs()[0].Requesters) != 1 || len(warned) != 2 {
		t.Errorf("%+v %q", p.jobs(), warned)
	}
}

// A kill at any step loses no request, and adds no job twice. Meanwhile the job may have
// ended, and the file may have been replaced.
func TestRequestKilled(t *testing.T) {
	for _, ended := range []bool{false, true} {
		for n := 0; ; n++ {
			p := newPlace(t, allowed)
			p.file("one", "reference: hub/app:v1")
			p.file("two", "references: [hub/app:v1, hub/app:v2, other:v1]")
			d := p.newDesk()
			p.Warn = nil
			at, reached := 0, false
			kill := func(step string) error {
				if at++; at > n {
					reached = true
					return errKilled
				}
				return nil
			}
			d.step, d.Queue.step = kill, kill
			d.glance(ctx)
			if d.Queue.step = nil; !reached {
				break
			}
			p.Mirror = p.open(p.Repo.Dir) // another process
			_, err := p.Queue.Recover(ctx)
			must(t, err)
			if ended {
				for range p.jobs() {
					if c, err := p.Queue.Claim(ctx, nil); err == nil && c != nil {
						must(t, c.Finish(Failed, func(j *Job) { j.Class = catalog.NotFound }))
					}
				}
			}
			answered := map[string]bool{}
			for _, name := range []string{"one", "two"} {
				if _, err := os.Stat(p.requests("answers", name+".json")); err == nil {
					answered[name] = true
				}
			}
			p.glances(2)
			where := fmt.Sprintf("ended %t, killed at %d", ended, n)
			if left := p.left(); len(left) > 0 {
				t.Errorf("%s: left are %q", where, left)
			}
			count := map[string]int{}
			for _, j := range p.jobs() {
				count[j.Canonical+" "+string(j.State)]++
			}
			one, two := p.answer("one"), p.answer("two")
			if one.ID == "" || len(two.IDs) != 3 || two.IDs[0] == "" {
				t.Errorf("%s: the answers are %+v and %+v", where, one, two)
			}
			if count["hub/app:v1 pending"] > 1 || count["hub/app:v2 pending"] > 1 ||
				!ended && count["hub/app:v1 pending"] != 1 {
				t.Errorf("%s: the jobs are %v", where, count)
			}
			// What was answered is not asked for again.
			if ended && answered["one"] && answered["two"] && count["hub/app:v1 pending"]+count["hub/app:v2 pending"] > 0 {
				t.Errorf("%s: asked again: %v", where, count)
			}
		}
	}
}

// A file that takes the place of one that is being removed is taken too.
func TestRequestReplaced(t *testing.T) {
	p := newPlace(t, allowed)
	p.file("ask", "reference: hub/app:v1")
	d := p.newDesk()
	d.step = func(step string) error {
		if step == "answered" {
			p.file("ask", "reference: hub/app:v2")
			d.step = nil
		}
		return nil
	}
	d.glance(ctx)
	d.glance(ctx)
	if jobs := p.jobs(); len(jobs) != 2 {
		t.Errorf("the jobs are %v", jobs)
	}
	if a := p.answer("ask"); a.References[0].Reference != "hub/app:v2" || len(p.left()) > 0 {
		t.Errorf("%+v, left %q", a, p.left())
	}
}

// A job whose file is damaged keeps no answer from being brought up to date.
func TestRequestBesideDamage(t *testing.T) {
	p := newPlace(t, allowed)
	for i := range 5 {
		p.file(fmt.Sprint("bad", i), fmt.Sprintf("reference: hub/bad%d:v1", i))
	}
	p.file("good", "reference: hub/app:v1")
	p.glances(1)
	for i := range 5 {
		must(t, os.WriteFile(p.Queue.file(pendingIn, p.answer(fmt.Sprint("bad", i)).ID), []byte("{"), 0o644))
	}
	_, err := p.Queue.Cancel(ctx, p.answer("good").ID, alice())
	must(t, err)
	p.glances(2)
	if a := p.answer("good"); a.State != Cancelled {
		t.Errorf("the answer is %+v", a)
	}
}
