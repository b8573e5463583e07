package publish

import (
	"context"
	"errors"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/durable"
)

// found makes production in an object store, or joins the one that is there: for init, in
// a repository that is laid out and not marked as one yet. led is not nil for a target: then
// production must be one that a sync of its leader made.
func (b *shared) found(ctx context.Context, led *Setup) error {
	r := b.r
	of := Leader{}
	if led != nil {
		of = *led.Leader
	}
	if err := b.probe(ctx, of); err != nil {
		return b.explain(err)
	}
	if err := generation.GiveID(idPath(r.Dir)); err != nil {
		return err
	}
	mine, err := generation.ReadID(idPath(r.Dir))
	if err != nil {
		return err
	}
	birth, err := b.site.Join(ctx)
	if errors.Is(err, bucket.ErrNotFound) {
		birth, err = b.site.Found(ctx, bucket.Birth{Repository: mine, Format: r.Config.Format,
			Readers: string(r.Config.S3.Readers), Pointer: b.pointerKey(), Layout: b.layout(), Made: r.now().UTC(),
			Who: r.who(), Leader: of.ID, Target: of.Target})
	}
	if err != nil {
		return b.explain(err)
	}
	if led != nil {
		if err := b.isOf(birth, of); err != nil {
			return err
		}
	}
	if birth.Repository != mine { // it is another machine's; this one joins it
		if err := durable.WriteFile(idPath(r.Dir), []byte(birth.Repository+"\n"), 0o644); err != nil {
			return err
		}
		r.store.Forget()
	}
	return b.fits(birth)
}

// probe tries whether the store does what the protocol needs. A target that is there was
// tried by whoever made it.
func (b *shared) probe(ctx context.Context, of Leader) error {
	if of.ID != "" {
		if _, err := b.site.Join(ctx); !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
	}
	return b.site.Probe(ctx)
}

// Join makes staging equal to the documents of a production that is in an object store,
// after init joined it. It returns the generation, 0 if there is none or production is
// on this machine, and how many documents it has.
func (r *Repo) Join(ctx context.Context) (n, documents int, err error) {
	if r.shared == nil {
		return 0, 0, nil
	}
	s, err := r.load(ctx)
	if err != nil || s.current == nil {
		return 0, 0, err
	}
	if r.led() { // nothing is staged in a target
		return s.current.Generation, 0, nil
	}
	documents, _, err = r.Reset(ctx)
	return s.current.Generation, documents, err
}

// Atomic reports whether readers of production see each switch as a whole.
func (r *Repo) Atomic() bool { return r.site.Guarantee().Whole }

// notAdopted is the error for a tree that is to become a production in an object store: to
// adopt is to take the place of a tree, and the store has none.
func notAdopted(production string) error {
	return &Error{Kind: Usage, Path: production,
		Fact: "--adopt takes over a tree in its place, and this is an object store",
		Hint: "publish init --production " + production + " DIR, then publish stage import TREE and publish promote " +
			"there: publish help bucket has the steps"}
}
