package stage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Base is the generation before a new tree. Files that both have are linked from
// it.
type Base struct {
	Source *tree.Source           // nil before the first generation, and if it is not a tree here
	Rows   tree.Rows              // every path that it serves
	TreeID string                 // over its own rows
	Named  func(path string) bool // whether its own indexes name the path
	// Former takes a former tree, from which the new one begins, and begins to compare
	// it with this one; nil for none.
	Former func(context.Context) (*tree.Former, error)
}

// former is Former, where there is one.
func (b *Base) former(ctx context.Context) (*tree.Former, error) {
	if b.Former == nil {
		return nil, nil
	}
	return b.Former(ctx)
}

// Has reports whether the base has this path with these bytes.
func (b *Base) Has(path, sha256 string) bool {
	r, ok := b.Rows.Get(path)
	return ok && sha256 != "" && r.SHA256 == sha256
}

// ModTime returns the modification time for a path whose bytes differ from the
// base's: now, but at least one second after the time in the base. Web servers and
// clients compare whole seconds, and treat a file that is not newer as unchanged.
// For a path that the base does not have, it returns now.
func (b *Base) ModTime(path string, now time.Time) (time.Time, error) {
	if b.Source == nil || b.Rows.Find(path) < 0 {
		return now, nil
	}
	fi, err := b.Source.Root().Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return now, nil
	}
	if err != nil {
		return now, err
	}
	if t := fi.ModTime().Add(time.Second); t.After(now) {
		return t, nil
	}
	return now, nil
}

// Settle sets the times of copied files in a new tree at dir, whose bytes may have
// been unknown before. A file with the same bytes as in the base gets the base's
// time; one with other bytes gets a later time.
func (b *Base) Settle(dir string, copied []tree.Row, now time.Time) error {
	for _, row := range copied {
		old, ok := b.Rows.Get(row.Path)
		if !ok || b.Source == nil {
			continue
		}
		t, err := b.ModTime(row.Path, now)
		if err != nil {
			return err
		}
		if old.SHA256 == row.SHA256 {
			fi, err := b.Source.Root().Lstat(row.Path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // it was deleted meanwhile
			}
			if err != nil {
				return err
			}
			t = fi.ModTime()
		}
		if err := os.Chtimes(join(dir, row.Path), time.Time{}, t); err != nil {
			return err
		}
	}
	return nil
}

// Snapshot is a private copy of what staging would publish.
type Snapshot struct {
	Dir string

	// Same means that the new tree would equal the base's. Then only the indexes
	// were copied, and Dir is not a tree.
	Same bool

	stage     *Stage
	sparse    *sparse
	absent    absent // files that have rows, and are not in Dir
	src       *tree.Source
	cache     *tree.Cache
	cat       *catalog.Catalog
	documents map[string]tree.Row
	rows      []tree.Row // of all files, sorted; nil if they are not known yet
	treeID    string     // of rows; "" if it is not known yet
	report    *Report    // findings so far
}

// Valid is a tree without errors, ready to be promoted. Only validation makes one:
// Snapshot.Validate of what staging holds, and Strip of a generation that lost
// revoked content.
type Valid struct {
	Dir     string
	Same    bool       // see Snapshot: Dir is not a tree
	Rows    []tree.Row // own rows, sorted
	Catalog *catalog.Catalog
	TreeID  string
	Report  *Report // its findings are warnings
}

// Snapshot copies what staging would publish into dst, which is an empty directory
// on the same file system. It holds the staging lock. Files that the base has with
// the same bytes are linked from the base. Files that this program sealed are
// linked from staging. All other files, and every index, are copied, so that no
// other process can write to them. Files that no index names, and uploads in
// progress, are left out. The batch collects what has to be synced. instead are
// documents that replace those of staging, for a dry run of a command that would
// rewrite them first.
//
// The documents are copied first, and these copies decide which files belong to
// the tree. They are read while staging is walked: see ahead. If the result equals the
// base's tree, nothing else is made. Otherwise the base's spare, or an empty directory,
// becomes the tree: see shape.
func (s *Stage) Snapshot(
	ctx context.Context, dst string, base *Base, batch *durable.Batch, instead ...catalog.Document,
) (*Snapshot, error) {
	unlock, err := s.Exclusive(ctx, "promote")
	if err != nil {
		return nil, err
	}
	defer unlock()
	now := s.Now()
	cache := tree.OpenCache(s.Hashes)
	snap, err := s.snapshot(ctx, dst, base, batch, cache, now, instead)
	if moved := base.Source.Proved(); moved != nil {
		// What was read from the base may be from another tree, so discard all.
		if err == nil {
			err = snap.Close()
		}
		return nil, errors.Join(moved, err)
	}
	if err != nil {
		return nil, err
	}
	if err := cache.Save(); err != nil {
		return nil, err
	}
	at := tree.NewRows(snap.rows)
	return snap, cache.Compact(len(snap.rows), func(path string) bool { return at.Find(path) >= 0 })
}

func (s *Stage) snapshot(ctx context.Context, dst string, base *Base, batch *durable.Batch, cache *tree.Cache,
	now time.Time, instead []catalog.Document) (out *Snapshot, err error) {
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return nil, err
	}
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	out = &Snapshot{Dir: dst, stage: s, sparse: sp, src: src, cache: cache, documents: map[string]tree.Row{},
		report: &Report{}}
	defer func() {
		if err != nil {
			out.Close()
		}
	}()
	copier := &copier{s: s, format: s.Format, src: src, dst: dst, base: base, cache: cache, now: now, batch: batch,
		out: out, seen: map[string]string{}}
	var ahead *reading
	defer func() { ahead.wait() }()
	if len(instead) == 0 {
		if ahead, err = copier.ahead(ctx); err != nil {
			return out, err
		}
	}
	all, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return out, err
	}
	copier.linked = links(all, s.Format)
	all = copier.linked.apply(all, s.Links)
	if sp != nil {
		copier.have = among(all)
	}
	early := len(out.documents)
	rest, err := copier.indexes(ctx, all, instead)
	if err != nil {
		return out, err
	}
	ofIndexes := slices.Clone(out.report.Findings)
	if copier.sameIndexes() {
		// The indexes are the base's, so the catalog need not be read again.
		admitted, facts, err := copier.plan(ctx, rest, base.Named)
		if err != nil {
			return out, err
		}
		if out.Same = copier.same(admitted, facts, base.Named); out.Same {
			copier.remember()
			out.cat = &catalog.Catalog{}
			return out, nil
		}
		out.report = &Report{Findings: ofIndexes} // the other findings will be reported again
	}
	if ahead == nil || len(out.documents) != early {
		if ahead, err = copier.read(ctx, ahead); err != nil {
			return out, err
		}
	}
	intern(rest, func(p string) string {
		row, _ := base.Rows.Get(p)
		return row.Path
	})
	out.cat, err = s.read(ctx, func() (*catalog.Catalog, error) {
		if out.cat != nil { // some documents were half written
			if err := copier.anew(ctx, out.cat.Half); err != nil {
				return nil, err
			}
			if ahead, err = copier.read(ctx, ahead); err != nil {
				return nil, err
			}
		}
		out.cat, err = ahead.catalog()
		return out.cat, err
	})
	if err != nil {
		return out, err
	}
	out.cat.Versions = nil // they are for who asks about staging, and no part of a tree
	if err := copier.list(); err != nil {
		return out, err
	}
	intern(rest, itemPath(out.cat))
	names := named(out.cat)
	admitted, facts, err := copier.plan(ctx, rest, names)
	if err != nil {
		return out, err
	}
	copier.remember()
	cache.Release() // it is not asked again, and for a large tree it needs much memory
	if err := copier.shape(ctx, ahead.former, admitted, facts, names); err != nil {
		return out, err
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return out, err
	}
	defer root.Close()
	if err := out.report.stale(root, s.Format, out.cat, names, times(all)); err != nil {
		return out, err
	}
	out.report.Findings = append(out.report.Findings, out.cat.Findings...)
	return out, nil
}

// list adds to the documents in the snapshot what clients ask them for beside the
// tree's own entries.
func (c *copier) list() error {
	changed, err := listAll(c.format, c.out.cat, c.dst, true, c.batch, c.out.report)
	if err != nil {
		return err
	}
	rows := make([]tree.Row, len(changed))
	for i, path := range changed {
		rows[i] = c.out.documents[path]
	}
	return c.base.Settle(c.dst, rows, c.now)
}

// Close releases the snapshot.
func (sn *Snapshot) Close() error { return sn.src.Close() }

// replace writes documents that replace those of staging.
func (sn *Snapshot) replace(docs []catalog.Document) error {
	for _, d := range docs {
		p := join(sn.Dir, d.Path)
		if d.Data == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, d.Data, 0o444); err != nil {
			return err
		}
		durable.Give(p)
		sn.documents[d.Path] = tree.Row{Path: d.Path, Size: int64(len(d.Data)),
			SHA256: fmt.Sprintf("%x", sha256.Sum256(d.Data)), Role: catalog.Mutable}
	}
	return nil
}

// Rows returns the rows of all files in the snapshot, valid or not, sorted.
func (sn *Snapshot) Rows() []tree.Row { return sn.rows }

// complete sets the rows of the snapshot to those of the documents and the others,
// which are sorted, and to those that are absent. It may use the list of the others for that.
func (sn *Snapshot) complete(others []tree.Row) {
	sn.rows = sn.absent.among(tree.MergeInto(others, sorted(sn.documents)))
}

// Validate checks the snapshot. The Valid is nil if the report has errors.
func (sn *Snapshot) Validate(ctx context.Context, c Checks) (*Valid, *Report, error) {
	if sn.Same { // it was valid when it was promoted
		check(sn.stage.Format, sn.cat, sn.rows, gathered{}, sn.report)
		return sn.valid(sn.report), sn.report, nil
	}
	root, err := os.OpenRoot(sn.Dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	needs := needs{}
	id := make(chan string, 1)
	go func() { id <- tree.ID(sn.rows) }()
	got := claimNeeds(sn.cat, sn.rows, sn.absent, &needs, sn.cache, c.Full)
	if sn.treeID = <-id; len(needs.list) > 0 { // what is read may change a row
		sn.treeID = ""
	}
	needed := func(string) bool { return true } // nobody else writes here, so any read error is an error
	sn.rows, err = readNeeds(ctx, root, sn.cat, sn.rows, needs.list, needed, &got, sn.cache, sn.report, sn.stage.progress)
	if err != nil {
		return nil, nil, err
	}
	sn.absent.conflicts(sn.rows, sn.report)
	check(sn.stage.Format, sn.cat, sn.rows, got, sn.report)
	return sn.valid(sn.report), sn.report, sn.cache.Save()
}

// valid returns the Valid; nil if the report has errors.
func (sn *Snapshot) valid(report *Report) *Valid {
	if len(report.Errors()) > 0 {
		return nil
	}
	if sn.treeID == "" {
		sn.treeID = tree.ID(sn.rows)
	}
	return &Valid{Dir: sn.Dir, Same: sn.Same, Rows: sn.rows, Catalog: sn.cat, TreeID: sn.treeID, Report: report}
}
