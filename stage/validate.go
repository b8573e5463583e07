package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Report is the result of a validation.
type Report struct {
	Findings    []catalog.Finding // sorted
	Files       int
	Bytes       int64 // of those files
	HashedBytes int64 // number of bytes that were read; the other hashes were known
	// BadPairs are the pairs with a wrong combined hash. Their findings name only
	// the document.
	BadPairs []catalog.Pair
	// Redacted are the paths of a kept generation that are missing because they
	// were revoked, sorted. They are not findings.
	Redacted []string
	// Dropped are the companions that Strip removed because it could not make them
	// again. They are not findings.
	Dropped []string
	// LeftOut has the other files of the tree, after all of it was checked.
	LeftOut LeftOut

	unnamed, uploads []tree.Entry // files that are left out
	addressed        bool         // the format's documents name content by digest
}

// Errors returns the findings that stop a promote.
func (r *Report) Errors() []catalog.Finding {
	var out []catalog.Finding
	for _, f := range r.Findings {
		if f.Severity == catalog.Error {
			out = append(out, f)
		}
	}
	return out
}

func (r *Report) add(s catalog.Severity, code, path, format string, args ...any) {
	r.Findings = append(r.Findings, catalog.Finding{Severity: s, Code: code, Path: path,
		Message: fmt.Sprintf(format, args...)})
}

func (r *Report) fail(code, path, format string, args ...any) {
	r.add(catalog.Error, code, path, format, args...)
}

// Checks says how thoroughly to validate.
type Checks struct {
	Full bool // read every file again, and check md5 sums
	Now  time.Time

	times bool // modification times show which of two files was written first
	twice bool // somebody asks whether the tree is still the same
}

// Checked is the result of validating a tree, with or without errors. Only a Valid
// can be promoted.
type Checked struct {
	Rows    []tree.Row // of all files that can be published, sorted
	Catalog *catalog.Catalog
	Report  *Report
	Strays  []tree.Entry // the orphans; see Orphans
	Sure    bool         // see Orphans
	crowded bool         // the hash cache may be worth compacting
}

// Row returns the row of a path; false if it cannot be published.
func (c *Checked) Row(path string) (tree.Row, bool) { return tree.Find(c.Rows, path) }

// Validate checks staging as it is now, and stores verified hashes in the hash
// cache. It takes no lock, so there may be findings because of a running writer.
func (s *Stage) Validate(ctx context.Context, c Checks) (*Checked, error) {
	cache := tree.OpenCache(s.Hashes)
	facts := s.facts(false)
	out, err := s.validate(ctx, cache, facts, c)
	if err != nil {
		return nil, err
	}
	return out, errors.Join(cache.Save(), facts.Save())
}

// Look is like Validate, but writes nothing: verified hashes are not stored.
func (s *Stage) Look(ctx context.Context) (*Checked, error) {
	return s.validate(ctx, tree.ReadCache(s.Hashes), s.facts(true), Checks{Now: s.Now()})
}

func (s *Stage) validate(ctx context.Context, cache *tree.Cache, facts *tree.Facts, c Checks) (*Checked, error) {
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, err
	}
	c.times = true
	var out *Checked
	_, err = s.read(ctx, func() (*catalog.Catalog, error) {
		out, err = validateTree(ctx, src, s.Format, sp, s.Links, s.known(cache), cache, facts, c, nil, s.progress)
		return out.catalog(), err
	})
	return out, err
}

// Peek is like Validate, but reads hardly any content. It takes hashes from the
// cache, or else from the index, and reads only files that neither has. It writes
// nothing. The rows are those that a promote would publish if the index is right.
func (s *Stage) Peek(ctx context.Context) (*Checked, error) {
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, err
	}
	cache := tree.ReadCache(s.Hashes)
	var out *Checked
	_, err = s.read(ctx, func() (*catalog.Catalog, error) {
		out, err = peek(ctx, src, s.Format, sp, s.Links, s.known(cache), cache, s.facts(true))
		return out.catalog(), err
	})
	return out, err
}

func (c *Checked) catalog() *catalog.Catalog {
	if c == nil {
		return nil
	}
	return c.Catalog
}

// ValidateTree checks any tree, such as a generation. known has hashes that are
// trusted unless c.Full is set; nil for none. facts are what formats know of content. open,
// if it is not nil, reads the content of a row: then the tree has only documents, and what is in
// known counts as present.
func ValidateTree(ctx context.Context, src *tree.Source, f catalog.Format, c Checks, known map[string]tree.Row,
	facts *tree.Facts, open func(context.Context, tree.Row) (io.ReadCloser, error),
	progress func(string, int64) func(int64)) (*Checked, error) {
	s := Stage{Progress: progress}
	var sp *sparse
	if open != nil {
		sp = &sparse{Elsewhere: &Elsewhere{Rows: sorted(known), Open: open}, ctx: ctx, format: f}
	}
	return validateTree(ctx, src, f, sp, RefuseLinks, everything, tree.OpenCache(""), facts, c, known, s.progress)
}

// everything is the function known for a generation. All its files are expected:
// those that its indexes do not name are carried.
func everything(tree.Entry) bool { return true }

// survey is a walked tree with its catalog.
type survey struct {
	root    *os.Root
	format  catalog.Format // for this tree: see Within
	entries []tree.Entry
	strays  []tree.Entry // see Checked
	sure    bool
	cat     *catalog.Catalog
	named   names
	absent  absent
	report  *Report
	state   tree.State
}

// examine walks a tree, reads its indexes, and finds the entries that can be
// published: see gate.
func examine(
	ctx context.Context, src *tree.Source, f catalog.Format, sp *sparse, policy Links, known func(tree.Entry) bool,
	contents catalog.Source, twice bool,
) (*survey, error) {
	root := src.Root()
	sv := &survey{root: root, report: &Report{}}
	var all []tree.Entry
	var err error
	// Before the walk, so that the documents' memory is free again.
	sv.cat, err = f.Read(ctx, contents)
	if err == nil {
		all, err = src.WalkLike(ctx, func() func(string) string { return itemPath(sv.cat) })
	}
	if err != nil {
		return nil, err
	}
	if twice {
		sv.state = tree.StateOf(all)
	}
	f = catalog.Within(f, sv.cat.Documents)
	sv.format = f
	sv.report.Findings = slices.Clone(sv.cat.Findings)
	sv.named = named(sv.cat)
	g := newGate(f, all, sv.named, root, sv.report)
	g.known = known
	g.linked, g.links = links(all, f), policy
	sv.strays, sv.sure = g.orphans(all, sv.cat)
	all = g.linked.apply(all, policy)
	sv.absent = sp.absent(sv.named, among(all))
	sv.entries = slices.DeleteFunc(all, func(e tree.Entry) bool { return !g.admit(e) })
	g.vain(sv.entries, slices.Values(sv.cat.Documents))
	return sv, nil
}

// intern replaces the path strings of entries by equal strings that known returns,
// which saves memory for large trees. known returns "" for none.
func intern(entries []tree.Entry, known func(path string) string) {
	for i := range entries {
		if p := known(entries[i].Path); p != "" {
			entries[i].Path = p
		}
	}
}

// itemPath returns a function for intern, with the strings of the catalog.
func itemPath(cat *catalog.Catalog) func(path string) string {
	items := tree.NewFinger(cat.Items, func(i *catalog.Item) string { return i.Path })
	return func(path string) string {
		if at := items.Find(path); at >= 0 {
			return cat.Items[at].Path
		}
		return ""
	}
}

// linkRow returns the row of a symbolic link.
func linkRow(e tree.Entry) tree.Row {
	h := tree.NewSHA256()
	h.Write([]byte(e.Target()))
	return tree.Row{Path: e.Path, Size: int64(len(e.Target())), SHA256: fmt.Sprintf("%x", h.Sum(nil)), Role: catalog.Link}
}

// checking is a validation that has not read content yet.
type checking struct {
	sv      *survey
	rows    []tree.Row
	needs   needs
	aliases map[string]string // real paths of files that are reached through links, by path
	got     gathered
	noted   noted // what was read, as far as the cache believes it
	cache   *tree.Cache
	checks  Checks
}

// noted are files that were read and whose hashes a cache was told, sorted by path.
type noted []*need

// sum returns the hash of a file in this state.
func (n noted) sum(path string, st tree.Stat) (sha256 string, ok bool) {
	i, ok := slices.BinarySearchFunc(n, path, func(n *need, p string) int { return strings.Compare(n.path, p) })
	if !ok || !n[i].stat.Same(st, false) {
		return "", false
	}
	return n[i].got.sha256, true
}

// begin examines a tree, and finds out what has to be read of it. known has hashes that
// are trusted unless c.Full is set; nil for none. fresh is what was read just now.
func begin(
	ctx context.Context, src *tree.Source, f catalog.Format, sp *sparse, policy Links, named func(tree.Entry) bool,
	cache *tree.Cache, facts *tree.Facts, c Checks, known map[string]tree.Row, fresh noted,
) (*checking, error) {
	sv, err := examine(ctx, src, f, sp, policy, named, watched(src, sp, cache, facts, c.Now), c.twice)
	if err != nil {
		return nil, err
	}
	var older func(p, of string) bool
	if c.times {
		older = times(sv.entries)
	}
	if err := sv.report.stale(sv.root, f, sv.cat, sv.named, older); err != nil {
		return nil, err
	}
	k := &checking{sv: sv, rows: make([]tree.Row, len(sv.entries)), aliases: map[string]string{}, cache: cache, checks: c}
	items := tree.NewFinger(sv.cat.Items, func(i *catalog.Item) string { return i.Path })
	elsewhere := 0 // absent rows before this one, which the rows will have too
	for i, e := range sv.entries {
		for elsewhere < len(sv.absent.rows) && sv.absent.rows[elsewhere].Path < e.Path {
			elsewhere++
		}
		if e.Kind == tree.Symlink {
			k.rows[i] = linkRow(e)
			continue
		}
		if e.Name != "" {
			k.aliases[e.Path] = e.Name
		}
		row := tree.Row{Path: e.Path, Size: e.Stat.Size, Role: catalog.Mutable}
		like, md5 := "", false
		for at := items.Find(e.Path); at >= 0 && at < len(sv.cat.Items) && sv.cat.Items[at].Path == e.Path; at++ {
			row.Role, like, md5 = catalog.Content, sv.cat.Items[at].SHA256, md5 || sv.cat.Items[at].MD5 != ""
		}
		if of := catalog.ServingAt(f, e.Path); of != nil {
			k.needs.add(i+elsewhere, needAt(e.Path, e.Name, e.Stat).with(func(o *odd) { o.of = of }))
		} else if had, ok := known[e.Path]; ok && had.Size == row.Size && !c.Full {
			row.SHA256 = had.SHA256
		} else if sum, _, ok := cache.LookupLike(e.At(), e.Stat, like); ok && !c.Full {
			row.SHA256 = sum
		} else if sum, ok := fresh.sum(e.At(), e.Stat); ok && !c.Full {
			row.SHA256 = sum
		} else {
			n := needAt(e.Path, e.Name, e.Stat)
			if n.like = like; c.Full && md5 {
				n.with(func(o *odd) { o.md5 = true })
			}
			k.needs.add(i+elsewhere, n)
		}
		k.rows[i] = row
	}
	sv.entries = nil
	k.rows = sv.absent.among(k.rows)
	sv.absent.conflicts(k.rows, sv.report)
	share(k.rows, sv.cat)
	k.got = claimNeeds(sv.cat, k.rows, sv.absent, &k.needs, cache, c.Full)
	k.through()
	return k, nil
}

// through completes the needs for files that are reached through links.
func (k *checking) through() {
	if len(k.aliases) == 0 {
		return
	}
	at := tree.NewRows(k.rows)
	for _, n := range slices.Clone(k.needs.list) {
		if name := k.aliases[n.path]; name != "" {
			n.with(func(o *odd) { o.name = name })
		}
		for _, first := range n.oddly().after {
			if row := at.Find(first); k.aliases[first] != "" && row >= 0 && k.needs.get(row) == nil {
				k.needs.add(row, needAt(first, k.aliases[first], tree.Stat{}))
			}
		}
	}
}

// reads reports whether there is content to read.
func (k *checking) reads() bool {
	return slices.ContainsFunc(k.needs.list, func(n *need) bool { return n.oddly().of == nil })
}

// finish reads the content, and compares it with the indexes.
func (k *checking) finish(ctx context.Context, progress func(string, int64) func(int64)) (*Checked, error) {
	sv := k.sv
	needed := func(p string) bool { return sv.named.has(p) || sv.format.Class(p) == catalog.Index }
	rows, err := readNeeds(ctx, sv.root, sv.cat, k.rows, k.needs.list, needed, &k.got, k.cache, sv.report, progress)
	if err != nil {
		return nil, err
	}
	for _, n := range k.got.read {
		if n.stat.Ino != 0 && (n.got.more == nil || !n.got.more.own) && // the cache is about bytes
			k.cache.Note(n.path, n.stat, n.got.sha256, k.checks.Now) {
			k.noted = append(k.noted, n)
		}
	}
	k.needs, k.got.read = needs{}, nil
	check(sv.format, sv.cat, rows, k.got, sv.report)
	return &Checked{Rows: rows, Catalog: sv.cat, Report: sv.report, Strays: sv.strays, Sure: sv.sure}, nil
}

func validateTree(
	ctx context.Context, src *tree.Source, f catalog.Format, sp *sparse, policy Links, named func(tree.Entry) bool,
	cache *tree.Cache, facts *tree.Facts, c Checks,
	known map[string]tree.Row, progress func(string, int64) func(int64),
) (*Checked, error) {
	k, err := begin(ctx, src, f, sp, policy, named, cache, facts, c, known, nil)
	if err != nil {
		return nil, err
	}
	return k.finish(ctx, progress)
}

func sorted(files map[string]tree.Row) []tree.Row {
	rows := slices.Collect(maps.Values(files))
	tree.SortRows(rows)
	return rows
}

func peek(
	ctx context.Context, src *tree.Source, f catalog.Format, sp *sparse, policy Links, named func(tree.Entry) bool,
	cache *tree.Cache, facts *tree.Facts,
) (*Checked, error) {
	sv, err := examine(ctx, src, f, sp, policy, named, memory{sp.source(tree.Contents(src.Root())), facts}, false)
	if err != nil {
		return nil, err
	}
	if err := sv.report.stale(sv.root, f, sv.cat, sv.named, times(sv.entries)); err != nil {
		return nil, err
	}
	rows := make([]tree.Row, len(sv.entries))
	var list []*need
	items := sv.cat.Items // sorted by path, as the entries are
	for i, e := range sv.entries {
		if e.Kind == tree.Symlink {
			rows[i] = linkRow(e)
			continue
		}
		row := tree.Row{Path: e.Path, Size: e.Stat.Size, Role: sv.named.role(e.Path)}
		for len(items) > 0 && items[0].Path <= e.Path { // of several items with this path, the last one counts
			if items[0].Path == e.Path {
				row.SHA256 = items[0].SHA256
			}
			items = items[1:]
		}
		of := catalog.ServingAt(f, e.Path)
		if sum, _, ok := cache.Lookup(e.At(), e.Stat); ok && of == nil {
			row.SHA256 = sum
		}
		if row.SHA256 == "" {
			list = append(list, needAt(e.Path, e.Name, tree.Stat{}).with(func(o *odd) { o.of = of }))
		}
		rows[i] = row
	}
	list, hashed, err := readAll(ctx, sv.root, list, func(int64) {})
	if err != nil {
		return nil, err
	}
	sv.report.HashedBytes = hashed
	needed := func(p string) bool { return sv.named.has(p) || sv.format.Class(p) == catalog.Index }
	rows, _ = learn(sv.root, rows, list, needed, sv.report)
	rows = sv.absent.among(rows)
	sv.absent.conflicts(rows, sv.report)
	check(sv.format, sv.cat, rows, gathered{}, sv.report)
	return &Checked{Rows: rows, Catalog: sv.cat, Report: sv.report}, nil
}

// join is filepath.Join for a slash-separated path below dir.
func join(dir, p string) string { return filepath.Join(dir, filepath.FromSlash(p)) }
