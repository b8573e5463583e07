package generation

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Seal completes the draft and makes it durable under its number, with its
// manifest: after it only the switch is missing. live is what production serves,
// nil for nothing; the caller holds the lock that keeps switches out.
//
//  1. What m carries is linked from live. Files that somebody removed from there
//     cannot be carried: they are taken out of m, and returned.
//  2. The tree gets its number, and its files the times that they need against
//     live: see Times.
//  3. All of it is flushed.
//  4. The manifest is written. From here on the number is taken.
//  5. The tree gets the mark with the manifest's seal, and then its name,
//     under NextPrefix. Whose it is can be read wherever a crash leaves it, and
//     no tree has a number for a name of which anything is missing.
//
// Killed before step 4, it leaves a draft; after it, also a manifest of a tree
// that production never had. Both are swept, and the number stays out of use.
// The name itself is durable when the site has prepared the switch.
func (d *Draft) Seal(ctx context.Context, m *Manifest, live *View, now time.Time) (lost []Carried, err error) {
	s := d.store
	batch, err := durable.NewBatch(d.Dir)
	if err != nil {
		return nil, err
	}
	defer batch.Close()
	if live != nil && len(m.Carried) > 0 {
		if lost, err = d.carry(ctx, m, live, batch); err != nil {
			return lost, err
		}
	}
	id, err := s.EnsureID(func() string {
		if live == nil {
			return ""
		}
		return live.Dir
	})
	if err != nil {
		return lost, err
	}
	if err := writeIdentity(batch, d.Dir, m.Generation); err != nil {
		return lost, err
	}
	if live != nil {
		was := d.Since
		if was != nil && was.Generation == live.Generation {
			was = nil
		}
		t := &Times{Live: live, Dir: d.Dir, Tmp: d.Dir, Now: now, Batch: batch}
		if err := errors.Join(t.Settle(ctx, m.Own, live.Manifest, was),
			t.Rise(ctx, IdentityName, IdentityName)); err != nil {
			return lost, err
		}
	}
	if err := errors.Join(batch.Flush(), s.at("before-manifest")); err != nil {
		return lost, err
	}
	if err := errors.Join(s.WriteManifest(m), s.at("after-manifest")); err != nil {
		return lost, err
	}
	if err := writeMark(d.Dir, id, m.Seal); err != nil {
		return lost, err
	}
	return lost, errors.Join(os.Rename(d.Dir, s.Waiting(m.Generation)), s.at("after-next"))
}

// Waiting is where the tree of generation n is between its seal and its switch.
func (s *Store) Waiting(n int) string { return filepath.Join(s.Trees, NextPrefix+Number(n)) }

// carry links what m carries from the live tree.
func (d *Draft) carry(ctx context.Context, m *Manifest, live *View, batch *durable.Batch) (lost []Carried, err error) {
	src, ops := live.Source(), make([]tree.Op, len(m.Carried))
	for i, c := range m.Carried {
		ops[i] = tree.Op{Path: c.Path, From: src, How: tree.Share, SHA256: c.SHA256, Stat: tree.Stat{Size: c.Size}}
		if c.Role == catalog.Link {
			ops[i].How = tree.Relink
		}
	}
	cloner := tree.Cloner{Dst: d.Dir, Batch: batch}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return nil, err
	}
	var kept []Carried
	for i, c := range m.Carried {
		switch err := done[i].Err; {
		case err == nil:
			kept = append(kept, c)
		case isGone(err):
			// Refusing would not bring it back, and every later promote would
			// stop here.
			lost = append(lost, c)
		default:
			return lost, &fault.Error{Path: filepath.Join(live.Dir, c.Path), Err: err,
				Fact: "production serves this file and it cannot be carried", Hint: "run publish verify"}
		}
	}
	m.Carried = kept
	return lost, nil
}
