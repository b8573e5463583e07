package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// A target in an object store is a production there that follows another one: whoever made it
// wrote into it whose target it is, and it makes no generation of its own, on any machine. The
// leader brings it forward itself, from a repository of the target in its own directory, which
// has copies only.
//
// Several machines can lead it, if they share a production that leads. The pointer decides: who
// lost the race looks again, and is done if the target has the generation by then.

// ReceiveFrom is a whole reception, for a target in an object store: it brings production there
// to what lead shows. The result is never nil: Generation is what the target serves, 0 if that
// is not known. The error is of kind Switched if it serves a new generation, and something
// after that failed.
//
//  1. Under the prepare lock it recovers, looks what the target has, and deletes what is due.
//  2. It copies the documents to a draft, and uploads what is in no generation that the target
//     keeps: content straight from where the leader has it. Nothing is named yet.
//  3. Under the production lock it commits, under the leader's number, as a promote does. If
//     another machine was first it begins again, and what it sent counts.
//  4. It carries out what was revoked, and notes that; and replaces files beside the index that
//     a killed sync did not.
func (r *Repo) ReceiveFrom(ctx context.Context, lead *Lead, of Leader,
	progress func(step string, bytes int64) func(done int64)) (*Received, error) {
	out := &Received{NotAtomic: !r.Atomic()}
	unlock, err := r.lock(ctx, prepareLock, "receive")
	if err != nil {
		return out, err
	}
	defer unlock()
	r.shared.site.Progress = progress
	f := &following{Reception: Reception{r: r, of: of, m: lead.View.Manifest, stones: lead.Stones, sum: lead.Revoked},
		lead: lead, b: r.shared, out: out}
	err = r.shared.again(ctx, func() error { return f.try(ctx) })
	out.Sent, out.Bytes = f.sent.total()
	return out, err
}

// following is a reception of a target in an object store.
type following struct {
	Reception
	lead *Lead
	b    *shared
	out  *Received
	sent sent
	met  bool // what the target served at the beginning is noted
}

// try is one try of ReceiveFrom. The error is a *bucket.MovedError if another machine was
// first.
func (f *following) try(ctx context.Context) error {
	r, b := f.r, f.b
	s, err := r.recovered(ctx, actor{verb: "receive", preparing: true})
	if err != nil {
		return err
	}
	f.meet(s)
	if err := errors.Join(b.isOf(b.site.Birth(), f.of), f.fits(s)); err != nil {
		return err
	}
	if b.due(ctx, s) { // first: what is to come may need a path that is free by then
		if s, err = f.collect(ctx); err != nil {
			return err
		}
	}
	if at := b.present(); f.isLive(s) && at.Obeyed == f.sum && at.Settled {
		return nil
	}
	var draft *generation.Draft
	if !f.isLive(s) {
		if draft, err = r.store.Draft(generation.RevertPrefix); err != nil {
			return err
		}
		defer draft.Discard()
		if err := f.send(ctx, s, draft); err != nil {
			return err
		}
	}
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "receive", preparing: true, draft: dirOf(draft)})
	if err != nil {
		return err
	}
	defer unlock()
	f.meet(s)
	if err := f.fits(s); err != nil {
		return err
	}
	var later error // of a step after the switch
	if !f.isLive(s) {
		if later, err = f.commit(ctx, s, draft); err != nil || !f.isLive(s) {
			return errors.Join(later, err) // not settled: recovery continues, and then the next sync
		}
	}
	return errors.Join(later, f.obey(context.WithoutCancel(ctx), s))
}

func dirOf(d *generation.Draft) string {
	if d == nil {
		return ""
	}
	return d.Dir
}

// meet notes what the target serves.
func (f *following) meet(s *state) {
	if s.current != nil {
		f.out.Generation = s.current.Generation
	}
	if !f.met {
		f.out.From, f.met = f.out.Generation, true
	}
}

// send is the long part of a try: it uploads what the target does not have.
func (f *following) send(ctx context.Context, s *state, draft *generation.Draft) error {
	err := f.lead.copyDocuments(ctx, draft.Dir, f.b.Away, f.near(s))
	if err != nil {
		return interrupted(f.lead.explain(ctx, err))
	}
	c, err := f.candidate(ctx, s, draft)
	if err != nil {
		return err
	}
	if err := f.b.send(ctx, s, c); err != nil {
		return f.lead.explain(ctx, err)
	}
	return f.r.at("received-all")
}

// collect is a gc of the target: nobody else may run one. That it fails is no reason to stop.
func (f *following) collect(ctx context.Context) (*state, error) {
	s, _, unlock, err := f.r.exclusive(ctx, actor{verb: "receive", preparing: true})
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := f.r.collect(ctx, s, false); err != nil {
		f.r.opt.Warn(fmt.Sprintf("gc failed, and will be tried again: %v", err))
	}
	return s, interrupted(ctx.Err())
}

// near returns a function that returns the copy that the target has of a document; "" for none.
func (f *following) near(s *state) func(tree.Row) string {
	if s.current == nil {
		return func(tree.Row) string { return "" }
	}
	own := tree.NewRows(s.current.Own)
	return func(row tree.Row) string {
		was, ok := own.Get(row.Path)
		if !ok || was.SHA256 != row.SHA256 || catalog.ServingAt(f.r.format, row.Path) != nil {
			return ""
		}
		return filepath.Join(s.current.Dir, filepath.FromSlash(row.Path))
	}
}

// candidate is the leader's generation, with what of it the target has to get.
func (f *following) candidate(ctx context.Context, s *state, draft *generation.Draft) (*candidate, error) {
	c, err := f.Reception.candidate(draft)
	if err != nil {
		return nil, err
	}
	if !f.m.Counts() {
		cat, err := f.r.format.Read(ctx, f.lead.View.Contents())
		if err != nil {
			return nil, err
		}
		c.units = cat.Units
	}
	c.body = func(row tree.Row) bucket.Body { return f.lead.body(ctx, row) }
	c.sent = &f.sent
	c.kept, err = f.kept()
	return c, err
}

// kept returns the rows that generations have which the target keeps.
func (f *following) kept() ([]tree.Row, error) {
	graves, err := f.r.graveyard()
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, n := range f.b.kept(f.b.present()) {
		m, err := f.r.store.Manifest(n)
		if err != nil {
			return nil, err
		}
		for _, row := range m.Own {
			if !graves.Redacted(n, row) {
				there[row.Path+"\x00"+row.SHA256] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(f.m.Own), func(row tree.Row) bool {
		return !there[row.Path+"\x00"+row.SHA256]
	}), nil
}

// commit makes the generation production. later is the error of a step after the switch.
func (f *following) commit(ctx context.Context, s *state, draft *generation.Draft) (later, err error) {
	if draft == nil { // it was live before the lock: nothing goes back
		return nil, &bucket.MovedError{Now: f.b.present()}
	}
	c, err := f.candidate(ctx, s, draft)
	if err != nil {
		return nil, err
	}
	res, err := f.r.commit(ctx, s, c, false)
	if res == nil {
		return nil, f.lead.explain(ctx, err)
	}
	f.out.tells(res)
	f.out.Generation = res.Generation
	return err, nil
}

// obey carries out what was revoked, and finishes what a killed sync left. The caller holds
// the production lock.
func (f *following) obey(ctx context.Context, s *state) error {
	err := f.revoke(ctx, s)
	if err == nil {
		_, err = f.b.finishBeside(ctx)
	}
	if moved := new(bucket.MovedError); err == nil || errors.As(err, &moved) {
		return err
	}
	return afterSwitch(f.out.Generation, "sync again", err)
}

func (f *following) revoke(ctx context.Context, s *state) error {
	if f.b.present().Obeyed == f.sum {
		return nil
	}
	did, err := f.redact(ctx, s)
	if did != nil {
		f.out.Redacted += did.Files
	}
	if err == nil {
		err = f.r.at("before-settled")
	}
	if err == nil {
		_, err = f.b.commit(ctx, f.b.present(), bucket.Commit{Nonce: bucket.NewNonce(), Obeyed: &f.sum})
	}
	return err
}

// isOf returns an error unless a production is this target of this leader.
func (b *shared) isOf(birth *bucket.Birth, of Leader) error {
	at := b.r.Production()
	switch {
	case of.ID == "" || !TargetName(of.Target):
		return &Error{Kind: Usage, Fact: fmt.Sprintf("%q is no name of a target", of.Target)}
	case birth.Repository == of.ID:
		return refuse("give the target a prefix of its own", "%s is production of the repository that leads", at)
	case birth.Leader == "":
		return refuse("give a prefix where nothing is", "%s is production of a repository of its own, which follows none",
			at)
	case birth.Leader != of.ID:
		return refuse("give each leader a target of its own", "%s is the target %s of another repository, %s", at,
			birth.Target, birth.Leader)
	case birth.Target != of.Target:
		return refuse("a target that is renamed keeps its old name there",
			"%s is the target %s of this repository, not %s", at, birth.Target, of.Target)
	}
	return nil
}

// leader is Repo.Leader.
func (b *shared) leader() (*Leader, error) {
	birth := b.site.Birth()
	if birth == nil && !b.follows {
		if err := b.join(context.Background()); err != nil {
			return nil, err
		}
		birth = b.site.Birth()
	}
	if birth == nil || birth.Leader == "" {
		return nil, nil
	}
	l := &Leader{ID: birth.Leader, Target: birth.Target}
	if at := b.present(); at != nil {
		l.Tombstones = at.Obeyed
	}
	return l, nil
}

// due reports whether a gc has something to do.
func (b *shared) due(ctx context.Context, s *state) bool {
	at := b.present()
	if c := at.Condemned; c != nil {
		return at.Date.After(c.Last.Add(bucket.Lease)) && (!c.Left || at.Date.After(c.Void))
	}
	res, err := b.collect(ctx, s, true)
	return err == nil && len(res.Items) > 0
}

// sent counts the contents that go to an object store, each once.
type sent struct {
	mu    sync.Mutex
	sizes map[string]int64 // by key
}

// counted is an upload that is counted when its bytes are wanted.
func (n *sent) counted(u bucket.Upload) bucket.Upload {
	open := u.Body.Open
	u.Body.Open = func(from int64) (io.ReadCloser, error) {
		n.mu.Lock()
		if n.sizes == nil {
			n.sizes = map[string]int64{}
		}
		n.sizes[u.Key] = u.Body.Size
		n.mu.Unlock()
		return open(from)
	}
	return u
}

// total returns how many there were, and their bytes.
func (n *sent) total() (contents int, bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, size := range n.sizes {
		bytes += size
	}
	return len(n.sizes), bytes
}
