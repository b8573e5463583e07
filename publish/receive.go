package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Reception brings a target to the generation that its leader serves.
//
//  1. Receive takes the prepare lock, so that one reception is at work, and recovers.
//  2. Offer gets the manifest and the tombstones, and returns which contents the target
//     lacks. It has those of every kept tree, and those that an earlier reception left.
//  3. Put keeps a content in .publish/incoming, once its hash is right.
//  4. Finish takes the production lock, makes the tree out of these contents, and
//     commits it as a promote is committed, under the leader's number: so what clients
//     of this target may ask for is carried by the windows of this target. Then it
//     carries out what was revoked.
//
// If it is killed before the switch, production is as it was, and what came counts the
// next time. If it is killed later, recovery completes the switch, and the next sync the
// rest: the tombstones of the leader count as carried out only when they are.
type Reception struct {
	r      *Repo
	of     Leader
	unlock func()
	batch  *durable.Batch

	m      *generation.Manifest
	stones []tombstone.Stone
	sum    string // of the stones
	came   map[string]bool
}

// At is the production of a target.
type At struct {
	Generation int // 0: none
	TreeID     string
	Tombstones string // see Leader
}

// At is what the leader has.
func (l *Lead) At() At { return At{l.View.Generation, l.View.TreeID, l.Revoked} }

// Receive begins a reception for a leader. The error is of kind Refused if the repository
// is the target of another leader, or has a production of its own. A repository without
// generations becomes the leader's target. has is what the leader has: if the target has
// it, nothing is left to do.
func (r *Repo) Receive(ctx context.Context, of Leader, has At) (*Reception, *At, error) {
	if of.ID == "" || !TargetName(of.Target) {
		return nil, nil, &Error{Kind: Usage, Fact: fmt.Sprintf("%q is no name of a target", of.Target)}
	}
	unlock, err := r.lock(ctx, prepareLock, "receive")
	if err != nil {
		return nil, nil, err
	}
	s, err := r.recovered(ctx, actor{verb: "receive", preparing: true})
	var mine *Leader
	if err == nil {
		mine, err = r.becomes(ctx, s, of)
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	at := &At{Tombstones: mine.Tombstones}
	if s.current != nil {
		at.Generation, at.TreeID = s.current.Generation, s.current.TreeID
	}
	if *at == has {
		// A reception that was killed at its end may have left what came.
		if err := r.remove(r.incoming()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			unlock()
			return nil, nil, err
		}
	}
	return &Reception{r: r, of: of, unlock: unlock}, at, nil
}

// becomes makes sure that the repository is the target of a leader.
func (r *Repo) becomes(ctx context.Context, s *state, of Leader) (*Leader, error) {
	if id, err := r.store.ID(); err != nil || id == of.ID {
		return nil, errors.Join(err, refuse("give the target a directory of its own",
			"%s is the repository that leads, or a copy of it", r.Dir))
	}
	mine, err := r.Leader()
	switch {
	case err != nil:
		return nil, err
	case mine == nil && s.current == nil && s.history.Top() == 0:
		if staged, err := os.ReadDir(r.Stage.Dir); err != nil || len(staged) > 0 {
			return nil, errors.Join(err, refuse("give an empty directory", "%s is a repository, and something is staged in it",
				r.Dir))
		}
		mine = &Leader{ID: of.ID, Target: of.Target}
		return mine, r.writeLeader(mine)
	case mine == nil:
		return nil, refuse("give an empty directory", "%s is a repository of its own, whose production is not from a leader",
			r.Dir)
	case mine.ID != of.ID:
		return nil, refuse("give each leader a target of its own",
			"%s is the target %s of another repository, %s", r.Dir, mine.Target, mine.ID)
	case mine.Target != of.Target:
		return nil, refuse("a target that is renamed keeps its old name here, in "+r.short(r.leaderPath()),
			"%s is the target %s of this repository, not %s", r.Dir, mine.Target, of.Target)
	}
	return mine, nil
}

// Close ends the reception. What came stays for the next one, unless Finish succeeded.
func (p *Reception) Close() {
	if p.batch != nil {
		_ = p.batch.Close() // what is not flushed is hashed again
	}
	p.unlock()
}

// Offer takes what the leader serves, and returns a row for each content that is not here.
// revoked is the leader's digest of the stones.
func (p *Reception) Offer(ctx context.Context, m *generation.Manifest, stones []tombstone.Stone, revoked string) (
	[]tree.Row, error) {
	r := p.r
	if m.Format != r.format.Name() {
		return nil, &Error{Kind: Usage, Path: r.Dir,
			Fact: fmt.Sprintf("is of format %s, and its leader of %s", r.format.Name(), m.Format)}
	}
	if len(m.Own) == 0 {
		return nil, &Error{Kind: Invalid, Fact: "the generation of the leader is empty"}
	}
	sum, err := digestOf(stones)
	if err == nil && sum != revoked {
		err = &Error{Kind: Invalid, Fact: "what the leader revoked is not what it says"}
	}
	if err != nil {
		return nil, err
	}
	s, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	p.m, p.stones, p.sum = m, stones, sum
	if err := p.fits(s); err != nil || p.isLive(s) {
		return nil, err
	}
	if p.came, err = r.findIncoming(ctx, m.Own); err != nil {
		return nil, err
	}
	if p.batch, err = durable.NewBatch(r.incoming()); err != nil {
		return nil, err
	}
	return p.Lacks(ctx)
}

// Lacks returns a row for each content that is not here.
func (p *Reception) Lacks(ctx context.Context) ([]tree.Row, error) {
	s, err := p.r.load(ctx)
	if err != nil {
		return nil, err
	}
	have, err := p.r.stockFor(ctx, s, p.m.Own, p.came)
	if err != nil {
		return nil, err
	}
	return have.lacks(p.m.Own), have.Close()
}

func (p *Reception) isLive(s *state) bool {
	return s.current != nil && s.current.Generation == p.m.Generation
}

// fits returns an error if production must not become the leader's generation.
func (p *Reception) fits(s *state) error {
	n := p.m.Generation
	if s.current == nil {
		return nil
	}
	switch cur := s.current; {
	case cur.Generation > n:
		return refuse("the leader has lost generations, or a copy of it leads: nothing goes back by a sync",
			"%s has generation %d, which is ahead of generation %d of its leader", p.r.Dir, cur.Generation, n)
	case cur.Generation == n && cur.TreeID != p.m.TreeID:
		return refuse("the leader has lost generations, or a copy of it leads: promote once more there",
			"%s has another generation %d than its leader", p.r.Dir, n)
	case cur.Generation == n:
		return nil
	}
	// A hold keeps new content away, and neither what an operator decided nor what was revoked.
	if p.m.Kind != generation.KindPromote && p.m.Kind != generation.KindAdopt {
		return nil
	}
	graves, err := p.r.graveyard()
	if err != nil {
		return err
	}
	for _, st := range p.stones {
		if lacking, is := uncovered(graves, st); is && servesAny(s.current.Manifest, lacking) {
			return nil
		}
	}
	return held(s.history)
}

// Put keeps a content.
func (p *Reception) Put(ctx context.Context, row tree.Row, content io.Reader) error {
	if err := p.r.putIncoming(ctx, p.batch, row, content); err != nil {
		return err
	}
	p.came[generation.ContentKey(row)] = true
	return p.r.at("received")
}

// Received is what a reception did.
type Received struct {
	Generation int  // production
	From       int  // production before; 0 for none
	Switched   bool // production is another generation than before
	Carried    int
	NewBytes   int64
	Redacted   int // files of revoked content that were deleted
	Warnings   []string

	// Of ReceiveFrom: what went to the store, and whether readers there see no switch as a whole.
	Sent      int
	Bytes     int64
	NotAtomic bool
}

// tells notes what a switch did.
func (out *Received) tells(res *Result) {
	out.Switched, out.Carried, out.NewBytes = true, res.Carried, res.NewBytes
	for _, f := range res.Warnings {
		if f.Code == "stale-companion" {
			continue // of the leader, too
		}
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s: %s", f.Path, f.Message))
	}
}

// Finish makes the generation production. The result is also there if the error is of kind
// Switched.
func (p *Reception) Finish(ctx context.Context) (*Received, error) {
	r := p.r
	if p.batch != nil {
		if err := p.batch.Flush(); err != nil {
			return nil, err
		}
	}
	if err := r.at("received-all"); err != nil {
		return nil, err
	}
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "receive", preparing: true})
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.fits(s); err != nil {
		return nil, err
	}
	out := &Received{Generation: p.m.Generation}
	if s.current != nil {
		out.From = s.current.Generation
	}
	var later error // of a step after the switch
	if !p.isLive(s) {
		res, err := p.replace(ctx, s)
		if res == nil {
			return nil, err
		}
		out.tells(res)
		later = err
		if s.current == nil || s.current.Generation != p.m.Generation {
			return out, later // not durable yet: recovery continues, and then the next sync
		}
	}
	ctx = context.WithoutCancel(ctx)
	did, err := p.redact(ctx, s)
	if did != nil {
		out.Redacted = did.Files
	}
	if err == nil {
		err = p.settled()
	}
	if err != nil {
		later = errors.Join(later, afterSwitch(out.Generation, "sync again", err))
	}
	return out, later
}

// settled records that all is carried out, and forgets what came.
func (p *Reception) settled() error {
	r := p.r
	if err := r.at("before-settled"); err != nil {
		return err
	}
	// What came may have been revoked since, so it goes in any case.
	if err := r.remove(r.incoming()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mine, err := r.Leader()
	if err != nil || mine == nil || mine.Tombstones == p.sum {
		return err
	}
	mine.Tombstones = p.sum
	return errors.Join(r.upgrade(), r.writeLeader(mine))
}

// replace makes the tree of the generation and switches to it.
func (p *Reception) replace(ctx context.Context, s *state) (*Result, error) {
	r := p.r
	have, err := r.stockFor(ctx, s, p.m.Own, p.came)
	if err != nil {
		return nil, err
	}
	defer have.Close()
	in, err := tree.OpenSource(r.incoming())
	if err != nil {
		return nil, err
	}
	defer in.Close()
	draft, err := r.store.Draft(generation.RevertPrefix)
	if err != nil {
		return nil, err
	}
	defer r.discard(draft, true)
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	if base.Source != nil {
		defer base.Source.Close()
	}
	if err := draft.Compose(ctx, p.m.Own, base, r.format, s.now, have.place(in)); err != nil {
		return nil, interrupted(err)
	}
	if err := r.at("prepared"); err != nil {
		return nil, err
	}
	c, err := p.candidate(draft)
	if err == nil {
		err = p.list(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return r.commit(ctx, s, c, false)
}

// list reads what the indexes of the tree name. Its documents came in their own form: it adds
// what clients ask for there and only the indexes list.
func (p *Reception) list(ctx context.Context, c *candidate) error {
	served := catalog.Serving(p.r.format) != nil
	if !served && p.m.Counts() {
		return nil
	}
	cat, err := stage.ReadCatalog(ctx, c.draft.Dir, p.r.format)
	if err != nil {
		return err
	}
	c.units = cat.Units
	if !served {
		return nil
	}
	return stage.ListServed(p.r.format, cat, c.draft.Dir)
}

// candidate is the leader's generation, as this target switches to it.
func (p *Reception) candidate(draft *generation.Draft) (*candidate, error) {
	m := p.m
	c := &candidate{draft: draft, rows: m.Own, treeID: m.TreeID, units: m.Units, kind: m.Kind, origin: m.Origin,
		message: m.Message, barred: m.Barred, barredTrees: m.BarredTrees, who: viaSync(m.Who), number: m.Generation,
		follows: true, force: true}
	if m.Kind == generation.KindRelink { // a rebuilt manifest; here it is a switch to a new number
		c.kind = generation.KindPromote
	}
	graves, err := p.r.graveyard()
	if err != nil {
		return nil, err
	}
	own := map[string]bool{} // what was promoted by force after it was revoked
	for _, row := range m.Own {
		own[row.SHA256] = true
	}
	for _, st := range p.stones {
		lacking, _ := uncovered(graves, st)
		for _, v := range lacking.Revoked {
			if !own[v.SHA256] {
				c.revoked = append(c.revoked, v)
			}
		}
		if st.Before == m.Generation {
			c.unnamed = append(c.unnamed, lacking.Unnamed...)
		}
	}
	return c, nil
}

// viaSync is who switched, in the history of a target.
func viaSync(who string) string { return cmp.Or(who, "unknown") + " via sync" }

// number returns the number of the next generation. That of a target is its leader's: it
// may have a manifest already, of a sync that was killed before the switch. Nobody saw
// that generation, and its own rows are the same.
func (r *Repo) number(h *journal.History, c *candidate) (int, error) {
	n, err := r.next(h)
	if err != nil || c.number == 0 || c.number >= n {
		return cmp.Or(c.number, n), err
	}
	if c.number > h.Top() && r.store.Find(c.number) == "" && gone(r.store.Dir(c.number)) {
		if err := r.remove(r.store.ManifestPath(c.number)); err != nil {
			return 0, err
		}
		if n, err = r.next(h); err != nil {
			return 0, err
		}
	}
	if c.number < n {
		return 0, refuse("look at publish history there", "generation %d of the leader cannot be made in %s: generation %d "+
			"was begun there", c.number, r.Dir, n-1)
	}
	return c.number, nil
}
