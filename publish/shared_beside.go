package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
)

// Beside the pointer lie objects that change in place, such as pages and tags: each is
// whole, and they change one by one, after the switch. Two things must not get lost when
// whoever writes them is killed, or is slow, or another machine switches meanwhile:
//
//   - which of them may not be those of production. The pointer says so: settled is false,
//     and left has the generations before production that others may be of. What all of these
//     have in common with production is right.
//   - which of them production does not have any more. left stays until Clean has deleted
//     those that the format made. Files of the tree are carried, and gc deletes them.
//
// Who has switched compares with left, so that only what changed is sent. If one of these
// generations is kept no more, all are compared with the store.

// turnover is what changes beside the pointer.
type turnover struct {
	puts  []bucket.Upload
	stale []string // keys of what goes
	left  []int    // the generations that something beside may be of, until it has changed
}

// maxLeft is how many generations left may have. More are not known any more.
const maxLeft = 16

// turnBeside works out what changes beside the pointer when next follows what lies there. before
// are the generations of which it may be: those that on says, and production, unless it is
// next itself.
func (b *shared) turnBeside(ctx context.Context, on *bucket.Pointer, next *stage.Placed, itself bool,
	body func(*stage.Object) bucket.Body) (*turnover, error) {
	out := &turnover{left: slices.Clone(on.Left)}
	if on.Manifest != nil && !itself {
		out.left = append(out.left, on.Generation)
	}
	slices.Sort(out.left)
	if out.left = slices.Compact(out.left); len(out.left) > maxLeft {
		out.left = []int{0}
	}
	var before []*stage.Placed // each may lie there
	unknown := false
	var present *stage.Placed // this one does, if it is not nil
	for _, n := range out.left {
		p, err := b.placedOf(ctx, on, n)
		if err != nil {
			return nil, err
		}
		if p == nil {
			unknown = true
			continue
		}
		before = append(before, p)
		if n == on.Generation && on.Settled {
			present = p
		}
	}
	shown := map[string][]string{} // digests of what may lie under a key
	for _, p := range before {
		for _, o := range p.Beside {
			shown[o.Key] = append(shown[o.Key], o.SHA256)
		}
	}
	sums := func(key string) (list []string, certain bool) {
		list = shown[key]
		return list, !unknown && len(list) == len(before)
	}
	if present != nil {
		now := map[string]string{}
		for _, o := range present.Beside {
			now[o.Key] = o.SHA256
		}
		sums = func(key string) ([]string, bool) {
			sum, ok := now[key]
			return []string{sum}, ok
		}
	}
	has := map[string]bool{}
	for i := range next.Beside {
		o := &next.Beside[i]
		has[o.Key] = true
		list, certain := sums(o.Key)
		if certain && len(list) > 0 && !slices.ContainsFunc(list, func(sum string) bool { return sum != o.SHA256 }) {
			continue
		}
		u := bucket.Upload{Key: o.Key, Type: o.Type, Body: body(o), Mutable: true, Stage: stageReplaced,
			Fresh: !unknown && len(shown[o.Key]) == 0}
		switch {
		case o.Data != nil:
			u.Stage = stageList
		case u.Fresh:
			u.Stage = stageNew
		}
		out.puts = append(out.puts, u)
	}
	slices.SortStableFunc(out.puts, func(x, y bucket.Upload) int { return x.Stage - y.Stage })
	for _, p := range before {
		for _, o := range p.Beside {
			if made(&o) && !has[o.Key] {
				has[o.Key] = true
				out.stale = append(out.stale, o.Key)
			}
		}
	}
	return out, nil
}

// The order in which objects beside the pointer are written.
const (
	stageNew      = iota // what was not there
	stageReplaced        // what was
	stageList            // what is made from documents, such as lists of tags
)

// placedOf is placed for a generation that on keeps; nil if it does not, or if its documents
// are not there.
func (b *shared) placedOf(ctx context.Context, on *bucket.Pointer, n int) (*stage.Placed, error) {
	ref, ok := on.Ref(n)
	if !ok {
		return nil, nil
	}
	m, err := b.site.Manifest(ctx, ref)
	var out *stage.Placed
	if err == nil {
		out, err = b.placed(ctx, m)
	}
	if errors.Is(err, bucket.ErrNotFound) || errors.Is(err, bucket.ErrDamaged) {
		b.r.opt.Warn(fmt.Sprintf("generation %d cannot be read, so all files beside the index are compared: %v", n, err))
		return nil, nil
	}
	return out, b.explain(err)
}

// commits says in a switch what changes beside the pointer after it.
func (t *turnover) commits(c *bucket.Commit) {
	c.Settled = len(t.puts) == 0
	c.Left = []int{}
	if len(t.puts)+len(t.stale) > 0 {
		c.Left = t.left
	}
	for _, u := range t.puts {
		c.Beside = append(c.Beside, u.Key)
	}
}

// beside writes what lies beside the pointer of production, and notes that it is done.
func (b *shared) beside(ctx context.Context, t *turnover) error {
	if len(t.puts) == 0 {
		return nil
	}
	n, wrote, done := b.at.Generation, false, false
	for b.at.Generation == n {
		var err error
		if !done {
			var did bool
			did, err = b.site.Put(ctx, b.at, t.puts)
			wrote, done = wrote || did, err == nil
		}
		if done {
			if err = b.settled(ctx, t); err == nil {
				return nil
			}
		}
		moved := new(bucket.MovedError)
		if !errors.As(err, &moved) {
			return b.explain(err)
		}
		b.move(moved.Now)
	}
	if !wrote {
		return nil // whoever switched since writes them
	}
	return b.amend(ctx, n, t.puts)
}

// settled notes that what lies beside the pointer is that of production. If something has to
// be deleted there, left stays.
func (b *shared) settled(ctx context.Context, t *turnover) error {
	h, err := b.history(ctx, b.at)
	if err != nil {
		return err
	}
	c, err := b.step(h, b.at)
	if err != nil {
		return err
	}
	if c.Settled = true; len(t.stale) == 0 {
		c.Left = []int{}
	}
	_, err = b.commit(ctx, b.at, c)
	return err
}

// amend puts right what generation n wrote although production was another one already:
// see bucket.Site.Put. That has written what differs from n, and may have found there what
// it needs, before it was overwritten.
func (b *shared) amend(ctx context.Context, n int, written []bucket.Upload) error {
	for {
		on := b.at
		m, err := b.site.Manifest(ctx, *on.Manifest)
		if err != nil {
			return b.explain(err)
		}
		now, err := b.placed(ctx, m)
		if err != nil {
			return err
		}
		at := map[string]*stage.Object{}
		for i := range now.Beside {
			at[now.Beside[i].Key] = &now.Beside[i]
		}
		var puts []bucket.Upload
		stray := false
		for _, u := range written {
			if o := at[u.Key]; o != nil {
				puts = append(puts, bucket.Upload{Key: o.Key, Type: o.Type, Body: b.far(o), Mutable: true, Stage: u.Stage})
			} else {
				stray = true
			}
		}
		if _, err = b.site.Put(ctx, on, puts); err == nil && stray && !slices.Contains(on.Left, n) {
			var c bucket.Commit
			h, herr := b.history(ctx, on)
			if herr == nil {
				c, herr = b.step(h, on)
			}
			if herr != nil {
				return herr
			}
			c.Left = append(slices.Clone(on.Left), n)
			_, err = b.commit(ctx, on, c)
		}
		moved := new(bucket.MovedError)
		if !errors.As(err, &moved) {
			return b.explain(err)
		}
		b.move(moved.Now)
	}
}

// clean deletes what lies beside the pointer, and production does not have any more.
func (b *shared) clean(ctx context.Context) error {
	on := b.at
	if !on.Settled || len(on.Left) == 0 || on.Manifest == nil {
		return nil
	}
	m, err := b.site.Manifest(ctx, *on.Manifest)
	if err != nil {
		return b.explain(err)
	}
	now, err := b.placed(ctx, m)
	if err != nil {
		return err
	}
	t, err := b.turnBeside(ctx, on, now, true, b.far)
	if err != nil {
		return err
	}
	got, err := b.site.Clean(ctx, on, t.stale)
	if got != nil && got.Now != nil {
		b.move(got.Now)
	}
	if err != nil {
		return b.explain(err)
	}
	for _, stay := range got.Stay {
		b.r.opt.Warn(fmt.Sprintf("%s: could not be deleted: %v", stay.Key, stay.Err))
	}
	return nil
}

// finishBeside does what is left to do beside the pointer, whoever left it.
func (b *shared) finishBeside(ctx context.Context) (did bool, err error) {
	did = !b.at.Settled && b.at.Manifest != nil || len(b.at.Left) > 0
	err = b.settleBeside(ctx)
	if err == nil {
		err = b.clean(ctx)
	}
	if moved := new(bucket.MovedError); errors.As(err, &moved) {
		b.move(moved.Now) // whoever switched does it
		return false, nil
	}
	return did && err == nil, err
}

// settleBeside writes the objects beside the pointer of production that a killed command did
// not.
func (b *shared) settleBeside(ctx context.Context) error {
	if b.at.Settled || b.at.Manifest == nil {
		return nil
	}
	m, err := b.site.Manifest(ctx, *b.at.Manifest)
	if err != nil {
		return b.explain(err)
	}
	now, err := b.placed(ctx, m)
	if err != nil {
		return err
	}
	t, err := b.turnBeside(ctx, b.at, now, true, b.far)
	if err != nil {
		return err
	}
	if len(t.puts) > 0 {
		return b.beside(ctx, t)
	}
	return b.settled(ctx, t)
}
