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

// Seal completes the draft, and writes its manifest. After that only the switch
// is missing. live is what production serves, nil for nothing. The caller holds
// the lock that prevents switches.
//
//  1. Files that m carries are linked from live. If somebody removed such a file
//     there, its row is removed from m and returned.
//  2. The tree gets the file with its number, and its files get the times that
//     they need, compared with live: see Times. Documents get the form that clients
//     read: see Hold.
//  3. The tree is synced.
//  4. The manifest is written. From now on the number is in use.
//  5. The tree gets its mark, with the seal of the manifest, and then its name
//     with NextPrefix. In this order, each tree with a number in its name is
//     complete, and its owner can be read after a crash.
//
// If the process is killed before step 4, a draft remains. After step 4, the
// manifest remains as well. Recovery removes the tree, and the number is never
// used again. The new name is durable only when the site has prepared the switch.
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
	if d.Whole != nil {
		d.Whole()
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
		if err := errors.Join(t.settle(ctx, m.Own, live.Manifest, was),
			t.Rise(ctx, IdentityName, IdentityName)); err != nil {
			return lost, err
		}
		if err := d.serve(m, live, now, batch); err != nil {
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

// Waiting returns the path of the tree of generation n between its seal and its
// switch.
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
			// Not an error: that would not bring the file back, and would stop
			// every later promote.
			lost = append(lost, c)
		default:
			return lost, &fault.Error{Path: filepath.Join(live.Dir, c.Path), Err: err,
				Fact: "production serves this file and it cannot be carried", Hint: "run publish verify"}
		}
	}
	m.Carried = kept
	return lost, nil
}
