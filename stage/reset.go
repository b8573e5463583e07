package stage

import (
	"context"
	"os"
	"path/filepath"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Reset makes staging equal to the rows of a generation: content shared with
// it where that is allowed, indexes and other mutable files as copies that may
// be written to. Files that the rows do not have, or with other bytes, are
// moved to the directory trash. It returns how many files came and went.
func (s *Stage) Reset(ctx context.Context, from *tree.Source, rows []tree.Row, trash string) (added, dropped int, err error) {
	unlock, err := s.Exclusive(ctx, "stage reset")
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	cache := tree.OpenCache(s.Hashes)
	entries, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return 0, 0, err
	}
	want := make(map[string]tree.Row, len(rows))
	for _, r := range rows {
		want[r.Path] = r
	}
	have := map[string]bool{}
	var stale []string
	for _, e := range entries {
		r, ok := want[e.Path]
		if ok && e.Kind == tree.File && r.Role != catalog.Link {
			if sum, _, known := cache.Lookup(e.Path, e.Stat); known && sum == r.SHA256 {
				have[e.Path] = true
				continue
			}
		}
		if ok && e.Kind == tree.Symlink && linkRow(e) == r {
			have[e.Path] = true
			continue
		}
		stale = append(stale, e.Path)
	}

	// All that comes is made whole beside staging before anything goes.
	tmp, done, err := s.Upload()
	if err != nil {
		return 0, 0, err
	}
	defer done()
	batch, err := durable.NewBatch(s.Dir)
	if err != nil {
		return 0, 0, err
	}
	defer batch.Close()
	var ops []tree.Op
	var indexes, others []tree.Row
	for _, r := range rows {
		if have[r.Path] {
			continue
		}
		op := tree.Op{Path: r.Path, From: from, How: tree.Copy, SHA256: r.SHA256, Mode: 0o644, Stat: tree.Stat{Size: r.Size}}
		switch {
		case r.Role == catalog.Link:
			op.How = tree.Relink
		case r.Role == catalog.Content && s.Share:
			op.How = tree.Share
		case r.Role == catalog.Content:
			op.Mode = 0o444
		}
		ops = append(ops, op)
		if s.Format.Class(r.Path) == catalog.Index {
			indexes = append(indexes, r)
		} else {
			others = append(others, r)
		}
	}
	cloner := tree.Cloner{Dst: tmp, DirMode: s.dirMode(), Batch: batch, Progress: s.progress("reset", 0)}
	results, err := cloner.Run(ctx, ops)
	if err != nil {
		return 0, 0, err
	}
	for _, r := range results {
		if r.Err != nil {
			return 0, 0, r.Err
		}
	}
	if err := batch.Flush(); err != nil {
		return 0, 0, err
	}
	if err := s.discard(stale, trash); err != nil {
		return 0, 0, err
	}
	if err := s.place(tmp, others, cache); err != nil {
		return 0, 0, err
	}
	if err := s.place(tmp, indexes, cache); err != nil {
		return 0, 0, err
	}
	return len(ops), len(stale), cache.Save()
}

// place moves whole files from an upload to their paths in staging, in order,
// makes their names durable, and notes in the cache the content that this
// program sealed.
func (s *Stage) place(tmp string, rows []tree.Row, cache *tree.Cache) error {
	dirs := map[string]bool{}
	for _, r := range rows {
		dir := filepath.Dir(join(s.Dir, r.Path))
		if !dirs[dir] {
			dirs[dir] = true
			if err := s.mkdirs(dir); err != nil {
				return err
			}
		}
		to := join(s.Dir, r.Path)
		if err := os.Rename(join(tmp, r.Path), to); err != nil {
			return err
		}
		if r.Role != catalog.Content {
			continue
		}
		fi, err := os.Lstat(to)
		if err != nil {
			return err
		}
		if st := tree.StatOf(fi); st.Mode.Perm()&0o222 == 0 {
			cache.PutSealed(r.Path, st, r.SHA256)
		}
	}
	for d := range dirs {
		if err := durable.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}
