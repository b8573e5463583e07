package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
)

// place is a repository with a mirror of a hub.
type place struct {
	testing.TB
	*Mirror
	hub   *hub
	clock *clock
	mu    sync.Mutex
	told  []string
}

func newPlace(t testing.TB, config string) *place {
	t.Helper()
	p := &place{TB: t, hub: newHub(), clock: newClock()}
	dir := filepath.Join(t.TempDir(), "r")
	must(t, publish.Init(dir, choices(), publish.InitOptions{Format: "oci", Switch: "symlink"}))
	must(t, os.WriteFile(filepath.Join(dir, "publish.yaml"), []byte("format: oci\n"+config+"\n"), 0o644))
	p.Mirror = p.open(dir)
	return p
}

func choices() publish.Choices { return publish.Choices{Formats: []string{"oci"}, Sites: sites} }

func (p *place) open(dir string) *Mirror {
	p.Helper()
	c, err := publish.LoadConfig(dir, choices())
	must(p, err)
	c.Mirror.Limits.Free = 0
	r, err := publish.Open(dir, c, oci.Format{}, sites, publish.Options{Who: "tester"})
	must(p, err)
	m, err := New(r, "oci", p.clock.now, func(*Hosts) (catalog.Upstream, error) { return p.hub, nil })
	must(p, err)
	m.Told = func(j Job) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = append(p.told, fmt.Sprintf("%s %s", j.Reference, j.State))
	}
	m.Warn = unexpected(p)
	return m
}

// unexpected lets a test fail with a warning, unless that is of a kill.
func unexpected(t testing.TB) func(string) {
	return func(text string) {
		if !strings.HasSuffix(text, ": "+errKilled.Error()) {
			t.Error("warning:", text)
		}
	}
}

func (p *place) ask(names ...string) []string {
	p.Helper()
	added, err := p.Add(ctx, Wish{References: names, By: alice()})
	must(p, err)
	var ids []string
	for _, a := range added {
		ids = append(ids, a.Job.ID)
	}
	return ids
}

// follow is ask for what names stand for now, also if they are locked to something else.
func (p *place) follow(names ...string) []string {
	p.Helper()
	added, err := p.Add(ctx, Wish{References: names, By: alice(), AcceptDrift: true})
	must(p, err)
	var ids []string
	for _, a := range added {
		ids = append(ids, a.Job.ID)
	}
	return ids
}

// once runs what is due, and returns what became of all jobs, by reference.
func (p *place) once() map[string]string {
	p.Helper()
	if _, err := p.Run(ctx, RunOptions{Once: true}); err != nil {
		p.Fatal(err)
	}
	return p.states()
}

func (p *place) states() map[string]string {
	p.Helper()
	list, bad, err := p.Queue.List()
	must(p, err)
	if len(bad) > 0 {
		p.Errorf("problems: %v", bad)
	}
	out := map[string]string{}
	for _, j := range list {
		text := string(j.State)
		if j.Class != "" {
			text += " " + string(j.Class)
		}
		out[j.Reference] = text
	}
	return out
}

func (p *place) job(id string) Job {
	p.Helper()
	j, err := p.Queue.Get(id)
	must(p, err)
	return j
}

func (p *place) staged(name string) string {
	p.Helper()
	found, err := p.Repo.Resolve(ctx, "staging", name, "")
	if e := new(fault.Error); errors.As(err, &e) {
		return ""
	}
	must(p, err)
	return found.Digest
}

func (p *place) promote() {
	p.Helper()
	if _, err := p.Repo.Promote(ctx, publish.PromoteOptions{Message: "m"}); err != nil {
		p.Fatal(err)
	}
}

// Settle is See for one job.
func (m *Mirror) Settle(ctx context.Context, j Job) (Job, error) {
	seen, err := m.See(ctx, j)
	if err != nil {
		return j, err
	}
	return seen[0].Job, nil
}
