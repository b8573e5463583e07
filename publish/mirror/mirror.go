package mirror

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror/pins"
	"example.com/publish/stage/catalog"
)

// Mirror brings images from servers of one kind into the staging of a repository.
type Mirror struct {
	Repo      *publish.Repo
	Config    *publish.MirrorConfig
	Kind      string // of its references, such as oci
	Upstream  catalog.Upstream
	Queue     *Queue
	Hosts     *Hosts
	Pins      *pins.File // what names are locked to
	Now       func() time.Time
	Receivers []Receiver // are told of what happens to jobs, durably: see outbox
	// Told is called with what happens to a job, from several goroutines; nil: nobody is.
	Told func(Job)
	// Promoted is called with what a promote of the mirror did; nil: nobody is.
	Promoted func(*publish.Result)
	// Targets is called after each promote of the mirror, to bring targets forward; switched
	// says whether production is another one. nil: there are none. It runs beside the jobs,
	// once at a time; its error is that of the targets.
	Targets func(ctx context.Context, switched bool) error
	// Warn gets what stops nothing; nil: it is dropped.
	Warn func(string)

	live liveHoldings // for a Selector

	noticePause func(tries int) time.Duration // of tests; nil: the function noticePause

	settling   sync.Mutex // guards settledFor
	settledFor settledFor

	atWork atWork // see Working
}

// dir is a path below the mirror's own directory.
func dir(r *publish.Repo, parts ...string) string {
	return filepath.Join(append([]string{r.Dir, ".publish", "mirror"}, parts...)...)
}

// New returns the mirror of a repository. It touches nothing. upstream is given the hosts
// that must be left alone.
func New(r *publish.Repo, kind string, now func() time.Time, upstream func(*Hosts) (catalog.Upstream, error)) (
	m *Mirror, err error) {
	m = &Mirror{Repo: r, Config: &r.Config.Mirror, Kind: kind, Now: now,
		Queue: Open(dir(r, "queue"), now), Hosts: OpenHosts(dir(r, "hosts.json"), now)}
	m.Pins = pins.Open(filepath.Join(r.Dir, pins.Name), dir(r, "pins.lock"), m.placeOf, now)
	m.Upstream, err = upstream(m.Hosts)
	return m, err
}

func (m *Mirror) warn(format string, args ...any) {
	if m.Warn != nil {
		m.Warn(fmt.Sprintf(format, args...))
	}
}

func (m *Mirror) tell(j Job) {
	if m.Told != nil {
		m.Told(j)
	}
}
