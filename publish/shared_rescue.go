package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Rescue writes the pointer of a production in an object store anew, if somebody deleted or
// overwrote it: from the newest generation whose records can be read. Other generations are
// not kept after it. If the pointer is as it should be, it compares what lies beside it with
// production, and writes that anew where it differs. It returns a sentence that says what it
// did; "" for nothing.
func (r *Repo) Rescue(ctx context.Context) (string, error) {
	if r.shared == nil {
		return "", &Error{Kind: Usage,
			Fact: "--force is for a production in an object store, and production is on this machine",
			Hint: "publish recover repairs all that can be repaired"}
	}
	unlock, err := r.lock(ctx, productionLock, "recover")
	if err != nil {
		return "", err
	}
	defer unlock()
	return r.shared.rescue(ctx)
}

func (b *shared) rescue(ctx context.Context) (string, error) {
	etag := ""
	_, err := b.pointer(ctx, 0)
	bad := new(bucket.PointerError)
	switch {
	case err == nil:
		return b.rewrite(ctx)
	case errors.As(err, &bad):
		etag = bad.ETag
	case !errors.Is(err, bucket.ErrLost):
		return "", err
	}
	p, highest, err := b.site.Rescue(ctx)
	if err != nil {
		return "", b.explain(err)
	}
	p.ETag = etag
	m, err := b.site.Manifest(ctx, *p.Manifest)
	if err != nil {
		return "", b.explain(err)
	}
	h, graves, err := b.retold(ctx, p)
	if err != nil {
		return "", err
	}
	if err := b.r.store.Furnish(ctx, m); err != nil {
		return "", err
	}
	placed, err := b.placed(ctx, m)
	if err != nil {
		return "", err
	}
	c := bucket.Commit{Nonce: bucket.NewNonce(), Document: placed.Pointer, Left: []int{0}, Force: true}
	if len(graves) > 0 {
		row := tree.Row{Path: "tombstones", Size: int64(len(graves)), SHA256: fmt.Sprintf("%x", sha256.Sum256(graves))}
		if err := b.upload(ctx, p, []bucket.Upload{bucket.FileUpload(row, graves)}); err != nil {
			return "", err
		}
		c.Graves = row.SHA256
	}
	if highest > h.Top() { // a number that was used must not come again
		e := journal.Event{Head: journal.Head{Time: h.Newest(), Kind: journal.KindGap, Generation: highest,
			From: m.Generation, Origin: m.Origin, Who: b.r.who(), Message: "the pointer was lost"}, Body: &journal.Gap{}}
		if c.Event, err = h.Add(e); err != nil {
			return "", err
		}
	}
	if c.History, err = h.Summary(append(dropped(m), m.Generation)); err != nil {
		return "", err
	}
	now, err := b.site.Commit(ctx, p, c)
	if err != nil {
		return "", b.explain(err)
	}
	b.move(now)
	return fmt.Sprintf("wrote the pointer anew: production is generation %d", m.Generation), nil
}

// rewrite writes what lies beside the pointer where it is not as it should be.
func (b *shared) rewrite(ctx context.Context) (string, error) {
	if b.at.Manifest == nil {
		return "", nil
	}
	m, err := b.site.Manifest(ctx, *b.at.Manifest)
	if err != nil {
		return "", b.explain(err)
	}
	now, err := b.placed(ctx, m)
	if err != nil {
		return "", err
	}
	on := *b.at
	on.Left = []int{0} // what is there is not known
	t, err := b.turnBeside(ctx, &on, now, true, b.far)
	if err != nil {
		return "", err
	}
	wrote, err := b.site.Put(ctx, b.at, t.puts)
	if err != nil || !wrote {
		return "", b.explain(err)
	}
	return "wrote files beside the index anew", nil
}

// retold makes the history, and the tombstones, from the lines in the store.
func (b *shared) retold(ctx context.Context, p *bucket.Pointer) (*journal.History, []byte, error) {
	lines, err := b.lines(ctx, p, 0)
	if err != nil {
		return nil, nil, err
	}
	h, graves := journal.Parse(nil), []byte(nil)
	for _, line := range lines {
		one := journal.Parse(line)
		if len(one.Events) != 1 {
			return nil, nil, &Error{Path: b.r.Production(), Fact: "a line of the history is damaged", Err: errDamagedLine}
		}
		e := one.Events[0]
		if _, err := h.Add(e); err != nil {
			return nil, nil, err
		}
		revoked, unnamed := revokedBy(&e)
		if len(revoked)+len(unnamed) == 0 {
			continue
		}
		stone := tombstone.Stone{Time: e.Time, Who: e.Who, Why: e.Message, Before: e.Generation, Revoked: revoked,
			Unnamed: unnamed}
		if !e.Kind.Switch() { // it was revoked while this generation was live
			stone.Before++
		}
		if g, _ := tombstone.Parse(graves); !g.Lacks(stone) {
			continue // the line of its deletion says it again
		}
		text, err := stone.Marshal()
		if err != nil {
			return nil, nil, err
		}
		graves = append(graves, durable.Line(text)...)
	}
	return h, graves, nil
}
