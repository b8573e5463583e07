package publish

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
)

// What a server reads. It takes no lock and writes nothing: see package serve.

// OpenProduction opens the generation that is production, on this machine: see Follow. A
// switch at the same time gives one of the two generations.
func (r *Repo) OpenProduction() (*generation.View, error) {
	if r.shared != nil {
		return r.view(context.Background(), "production")
	}
	return r.store.ViewAt(r.Production())
}

// Mark is a file that is another one after each switch of production; of one in an object
// store there is none: see Commits.
func (r *Repo) Mark() string { return filepath.Join(r.Production(), generation.IdentityName) }

// Commits is how often production in an object store was changed, as it was read less than age
// ago; 0 for production on this machine, and if the store cannot be read.
func (r *Repo) Commits(ctx context.Context, age time.Duration) int {
	if r.shared == nil {
		return 0
	}
	p, err := r.shared.pointer(ctx, age)
	if err != nil {
		return 0
	}
	return p.Seq
}

// Linger is how long a switch takes at least: the verb that switches starts no health check,
// deletes nothing and does not end before so much time has passed since then. So who has
// looked what production is knows it for a moment longer, without a lock and without a look
// at the disk: a request that comes after the verb has ended comes so long after the switch.
// Both sides measure a duration by the monotonic clock, so the time of day does not matter.
const Linger = time.Millisecond

// linger waits until Linger has passed since a switch.
func linger(switched time.Time) { time.Sleep(time.Until(switched.Add(Linger))) }

// OpenKept opens generation n, which is kept beside production. The error is of kind
// NotFound if it is not.
func (r *Repo) OpenKept(n int) (*generation.View, error) {
	v, err := r.store.ViewAt(r.store.Dir(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, r.notKept(n)
	}
	if err != nil {
		return nil, err
	}
	if v.Generation != n { // the directory of production in rename mode, or one that is being deleted
		_ = v.Close()
		return nil, r.notKept(n)
	}
	return v, nil
}

// Format returns the format of the trees.
func (r *Repo) Format() catalog.Format { return r.format }

// ImagesIn returns the images of a view as List does, and the versions of its products.
func (r *Repo) ImagesIn(ctx context.Context, v *generation.View) ([]catalog.Image, []catalog.Version, error) {
	images, cat, err := r.imagesOf(ctx, v)
	if err != nil {
		return nil, nil, err
	}
	return images, cat.Versions, v.Proved()
}

// ReadAs returns the repository for readers, as if the generation with manifest m were
// production. A server that has its tree open asks so while it cannot be read what
// production is.
func (r *Repo) ReadAs(m *generation.Manifest) *Repo {
	out := *r
	out.as = m
	return &out
}

// Overview is what a server says beside the content of a view.
type Overview struct {
	*Status
	Staged *Validated // the findings that Status counts; nil with NoStaging
	// NoStaging is why staging cannot be read, or not be compared with production: Status
	// says nothing of it. NoHistory is why the history cannot be read: Status has only what
	// the manifest says of production. Else they are nil.
	NoStaging, NoHistory error
}

// Overview describes the repository. It takes no lock and writes nothing. Staging that
// cannot be read is no error, nor is the history after ReadAs.
func (r *Repo) Overview(ctx context.Context) (*Overview, error) {
	var out *Overview
	err := r.steady(ctx, func(s *state) error {
		status, staged, err := r.statusOf(ctx, s)
		out = &Overview{Status: status, NoStaging: err}
		if err == nil {
			checked := ValidatedOf(staged.Report)
			out.Staged = &checked
		}
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case out != nil:
		return out, nil
	case r.as == nil:
		return nil, err
	}
	status := &Status{Repository: r.Dir, Format: r.format.Name(), Switch: r.site.Name(), Generations: []Kept{},
		Production: r.liveAs(r.as), Leftovers: []Leftover{}, Mirror: r.mirrorState()}
	status.Locks, status.LocksUnknown = r.locks().held()
	return &Overview{Status: status, NoStaging: err, NoHistory: err}, nil
}
