package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/sign"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// A generation is signed in its draft, before the switch, so no reader meets a tree without
// its signatures. There are two kinds: clearsigned copies of documents, for clients that read
// those, and publish-manifest, the list of the own rows of one generation, with its number and
// time. All of them are rows of the generation. They belong to no staging tree: its id leaves them out,
// and so do diffs and whatever copies a generation to staging.

// signer opens the keys; nil if nothing is signed.
func (r *Repo) signer() (*sign.Signer, error) {
	if !r.Config.Sign.Set() {
		return nil, nil
	}
	o := r.Config.Sign.options(r.Dir)
	o.Limit = time.Duration(r.Config.Hooks.Timeout)
	s, err := sign.Open(o, r.now())
	if e := new(sign.KeyError); errors.As(err, &e) {
		return nil, &Error{Kind: Usage, Path: e.Path, Fact: e.Fact, Hint: e.Hint}
	}
	return s, err
}

// signAhead signs the candidate of a promote before the production lock, as the generation that
// it becomes if nobody switches meanwhile. A dry run only looks whether that would work.
func (r *Repo) signAhead(ctx context.Context, s *state, c *candidate, dryRun bool) error {
	if s.current != nil && s.current.TreeID == c.treeID {
		return nil
	}
	if dryRun {
		_, err := r.signer()
		return err
	}
	n, err := r.number(s.history, c)
	if err != nil {
		return err
	}
	return r.sign(ctx, s, c, n)
}

// signing is the work of one call of sign.
type signing struct {
	r    *Repo
	c    *candidate
	n    int
	now  time.Time
	rows map[string]tree.Row // new signatures, by path
}

// sign makes the signatures of a candidate that becomes generation n, in its draft, unless it has
// them already. Those of documents stay as they are where it has them: a revert brings its
// target's. What cannot be signed stops a promote. Anything else goes on without that signature,
// and says so: the way back must not hang on a key.
func (r *Repo) sign(ctx context.Context, s *state, c *candidate, n int) error {
	if c.follows || c.signedAs == n { // a target has those of its leader
		return nil
	}
	w := &signing{r: r, c: c, n: n, now: latest(r.now(), s.now).UTC().Truncate(time.Second), rows: map[string]tree.Row{}}
	err := w.make(ctx)
	if err == nil {
		err = w.settle(s)
	}
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx.Err())
	case err == nil:
		c.signedAs = n
		return nil
	case c.kind == generation.KindPromote || c.kind == generation.KindSign:
		if e := new(Error); errors.As(err, &e) {
			return err
		}
		return fmt.Errorf("production is unchanged: %w", err)
	}
	r.opt.Warn(fmt.Sprintf("%v; the switch continues without this signature; publish sign makes it", err))
	w.drop(isListing)
	return w.settle(s)
}

// make writes the signatures that are missing, and removes those that are of another
// generation.
func (w *signing) make(ctx context.Context) error {
	r, c := w.r, w.c
	w.drop(isListing)
	signer, err := r.signer()
	if err != nil || signer == nil {
		return err
	}
	openpgp, minisign := r.Config.Sign.options(r.Dir).Set()
	switch brought := slices.IndexFunc(c.rows, isCopy); {
	case openpgp && brought >= 0:
		w.tell(signer, c.rows[brought].Path)
	case openpgp:
		if err := w.documents(ctx, signer); err != nil {
			w.drop(func(path string) bool { _, made := w.rows[path]; return made }) // some are worse than none
			return err
		}
	}
	w.supersede(minisign)
	c.signatures = &generation.Signatures{Made: w.now}
	if !minisign {
		return nil
	}
	list := &sign.Listing{Generation: w.n, TreeID: c.treeID, Made: w.now, Rows: tree.Unsigned(c.rows)}
	if d := r.Config.Sign.lifetime(); d != 0 {
		list.Until = w.now.Add(d)
	}
	text := list.Encode()
	signatures, err := signer.Detached(ctx, text, list.Trusted())
	if err != nil {
		return err
	}
	if err := w.write(sign.ListingName, text); err != nil {
		return err
	}
	for _, s := range signatures {
		if err := w.write(sign.ListingName+s.Suffix, s.Data); err != nil {
			return err
		}
	}
	if !list.Until.IsZero() {
		c.signatures.Until = &list.Until
	}
	return nil
}

// isCopy reports whether a row is a clearsigned copy of a document.
func isCopy(row tree.Row) bool {
	return row.Role == catalog.Signature && !isListing(row.Path) && !strings.HasSuffix(row.Path, besideEnd)
}

// tell says if the documents that a generation brings are signed, but by none of the keys: these
// may have replaced one that clients do not have any more.
func (w *signing) tell(signer *sign.Signer, path string) {
	data, err := durable.ReadFile(w.at(path), 2*catalog.MaxDocument)
	if err == nil && !signer.Made(data) {
		w.r.opt.Warn("the documents are signed by another key than those of publish.yaml: publish sign signs them anew")
	}
}

// supersede takes out of the candidate what it has at the paths of signatures, and is none of
// publish: a tree that was adopted may bring some, or one that was made before anything was
// signed. Of a promote yield has done that.
func (w *signing) supersede(minisign bool) {
	c := w.c
	rows := slices.DeleteFunc(slices.Clone(c.rows), func(row tree.Row) bool {
		_, made := w.rows[row.Path]
		list := minisign && isListing(row.Path)
		if list {
			_ = os.Remove(w.at(row.Path)) // else it is no row, and harms nobody
		}
		return row.Role != catalog.Signature && (made || list)
	})
	if len(rows) < len(c.rows) {
		c.rows, c.treeID = rows, tree.ID(rows)
	}
}

// documents writes the clearsigned copies of documents.
func (w *signing) documents(ctx context.Context, signer *sign.Signer) error {
	format, ok := catalog.As[catalog.Signer](w.r.format)
	if !ok {
		return nil
	}
	src, err := tree.OpenSource(w.c.draft.Dir)
	if err != nil {
		return err
	}
	defer src.Close()
	inline := func(document string, text []byte) (d catalog.Document, err error) {
		path := w.r.format.Clearsigned(document)
		if d.Data, err = signer.Inline(ctx, text); err != nil {
			return d, fmt.Errorf("%s: cannot be signed: %w", path, err)
		}
		d.Path = w.r.signedAt(path, d.Data)
		if err := w.write(d.Path, d.Data); err != nil {
			return d, err
		}
		return d, w.detached(ctx, signer, document, text)
	}
	_, err = format.Clearsign(ctx, tree.Contents(src.Root()), inline)
	return err
}

// detached writes the signature of a document that lies beside it, if the document lies where no
// other bytes ever come: beside one that is replaced, a mirror would have them out of step. The
// signature may be replaced, such as by one with another key.
func (w *signing) detached(ctx context.Context, signer *sign.Signer, document string, text []byte) error {
	at := w.r.lasting(stage.RowOf(document, text))
	if at == "" {
		return nil
	}
	data, err := signer.Beside(ctx, text)
	if err != nil {
		return fmt.Errorf("%s: cannot be signed: %w", at, err)
	}
	if data == nil {
		return nil
	}
	return w.write(at+besideEnd, data)
}

const besideEnd = ".gpg"

// lasting is where clients of an object store find a document under a name that only these
// bytes have; "" for nowhere.
func (r *Repo) lasting(row tree.Row) string {
	if r.shared == nil {
		return ""
	}
	p := r.shared.placer()
	if p == nil {
		return ""
	}
	return p.DocumentKey(row.Path, row.SHA256)
}

// signedAt is where a signed copy lies that belongs at a path. Clients of an object store read
// the copy of the index there whenever it is replaced, so it names only what is never replaced.
func (r *Repo) signedAt(at string, data []byte) string {
	if r.shared == nil {
		return at
	}
	p := r.shared.placer()
	if p == nil || at == r.format.Clearsigned(p.PointerPath()) {
		return at
	}
	ending := path.Ext(at)
	return strings.TrimSuffix(at, ending) + "-" + stage.RowOf(at, data).SHA256 + ending
}

// write makes a file of the draft. What is at this path is replaced, and no other tree's.
func (w *signing) write(path string, data []byte) error {
	at := w.at(path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := durable.WriteFile(at, data, 0o444); err != nil {
		_ = os.Remove(at) // it may be there, and not durable; a revert goes on without it
		return err
	}
	row := stage.RowOf(path, data)
	row.Role = catalog.Signature
	w.rows[path] = row
	return nil
}

func (w *signing) at(path string) string {
	return filepath.Join(w.c.draft.Dir, filepath.FromSlash(path))
}

// drop removes signatures of the candidate.
func (w *signing) drop(which func(path string) bool) {
	c := w.c
	c.signatures = nil
	goes := func(row tree.Row) bool { return row.Role == catalog.Signature && which(row.Path) }
	if slices.ContainsFunc(c.rows, goes) { // else there is no need of a copy
		c.rows = slices.DeleteFunc(slices.Clone(c.rows), func(row tree.Row) bool {
			if goes(row) {
				_ = os.Remove(w.at(row.Path)) // else it is no row, and harms nobody
			}
			return goes(row)
		})
	}
	for path := range w.rows {
		if which(path) {
			delete(w.rows, path)
			_ = os.Remove(w.at(path))
		}
	}
}

// settle adds the new files to the rows, with times that tell clients of other bytes.
func (w *signing) settle(s *state) error {
	if len(w.rows) == 0 {
		return nil
	}
	var rows []tree.Row
	for _, row := range w.rows {
		rows = append(rows, row)
	}
	tree.SortRows(rows)
	old := slices.DeleteFunc(slices.Clone(w.c.rows), func(row tree.Row) bool { _, is := w.rows[row.Path]; return is })
	w.c.rows = tree.MergeRows(old, rows)
	base, err := s.base()
	if err != nil {
		return err
	}
	if base.Source == nil {
		return nil
	}
	defer base.Source.Close()
	return base.Settle(w.c.draft.Dir, rows, s.now)
}

// signedIn gives the rows of a tree whose manifest is lost their roles, where history says that
// some are signatures: without these the tree has the id that history recorded.
func (r *Repo) signedIn(rows []tree.Row, cat *catalog.Catalog, treeID string) []tree.Row {
	copies := map[string]bool{}
	for _, d := range cat.Documents {
		copies[r.format.Clearsigned(d)] = true
	}
	for _, is := range []func(string) bool{
		func(string) bool { return false },
		isListing,
		func(path string) bool { return copies[path] },
		func(path string) bool { return isListing(path) || copies[path] },
	} {
		out := slices.Clone(rows)
		for i, row := range out {
			if is(row.Path) {
				out[i].Role = catalog.Signature
			}
		}
		if tree.ID(out) == treeID {
			return out
		}
	}
	return rows
}

// isListing reports whether a path is that of publish-manifest, or of a signature of it.
func isListing(path string) bool {
	return path == sign.ListingName ||
		strings.HasPrefix(path, sign.ListingName+".") && strings.HasSuffix(path, ".minisig")
}

// yield takes out of a tree what staging has at the paths of signatures that will be made: they
// replace it. A warning says so.
func (r *Repo) yield(ctx context.Context, v *stage.Valid) error {
	if !r.Config.Sign.Set() || v.Same {
		return nil
	}
	openpgp, minisign := r.Config.Sign.options(r.Dir).Set()
	ours := map[string]bool{}
	if format, ok := catalog.As[catalog.Signer](r.format); ok && openpgp {
		src, err := tree.OpenSource(v.Dir)
		if err != nil {
			return err
		}
		_, err = format.Clearsign(ctx, tree.Contents(src.Root()), func(of string, _ []byte) (catalog.Document, error) {
			path := r.format.Clearsigned(of)
			ours[path] = true
			return catalog.Document{Path: path}, nil
		})
		if err = errors.Join(err, src.Close()); err != nil {
			return err
		}
	}
	var findings []catalog.Finding
	rows := slices.DeleteFunc(slices.Clone(v.Rows), func(row tree.Row) bool {
		below := minisign && strings.HasPrefix(row.Path, sign.ListingName+"/")
		if below {
			findings = append(findings, catalog.Finding{Severity: catalog.Error, Code: "path-conflict", Path: row.Path,
				Message: "is where publish writes " + sign.ListingName})
		}
		return !below && (ours[row.Path] || minisign && isListing(row.Path))
	})
	if len(findings) > 0 {
		return &FindingsError{Report: &stage.Report{Findings: findings}}
	}
	if len(rows) == len(v.Rows) {
		return nil
	}
	left := tree.NewRows(rows)
	for _, row := range v.Rows {
		if _, stays := left.Get(row.Path); stays {
			continue
		}
		err := os.Remove(filepath.Join(v.Dir, filepath.FromSlash(row.Path)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // in a sparse tree it is elsewhere
			return err
		}
		v.Report.Findings = append(v.Report.Findings, catalog.Finding{Severity: catalog.Warning, Code: "signature-replaced",
			Path: row.Path, Message: "is left out: publish makes this file, as sign in publish.yaml says"})
	}
	v.Rows, v.TreeID = rows, tree.ID(rows)
	return nil
}

// SignOptions say how to sign production anew.
type SignOptions struct {
	Due     bool // only if half of the time is over for which the signatures are good, or there are none
	DryRun  bool
	Message string
}

// Sign signs production anew, as a new generation with the same content, such as with another
// key. The result is also non-nil if the error is of kind Switched.
func (r *Repo) Sign(ctx context.Context, opt SignOptions) (res *Result, err error) {
	if r.shared == nil {
		return r.resign(ctx, opt)
	}
	err = r.shared.again(ctx, func() error {
		res, err = r.resign(ctx, opt)
		return err
	})
	return res, err
}

func (r *Repo) resign(ctx context.Context, opt SignOptions) (*Result, error) {
	start := r.now()
	if err := r.allows("sign"); err != nil {
		return nil, err
	}
	if !r.Config.Sign.Set() {
		return nil, &Error{Kind: Usage, Path: filepath.Join(r.Dir, ConfigName), Fact: "has no key under sign",
			Hint: "publish help signing shows how to make one"}
	}
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "sign"})
	if err != nil {
		return nil, err
	}
	defer unlock()
	cur := s.current
	if cur == nil {
		return nil, notFound("publish promote makes the first generation", "production does not exist yet")
	}
	if opt.Due && !cur.Signatures.Due(r.now()) {
		return r.unchanged(s, opt.DryRun), nil
	}
	draft, err := r.store.Draft(generation.RevertPrefix)
	if err != nil {
		return nil, err
	}
	draft.Look = opt.DryRun
	defer r.discard(draft, true)
	target, valid, err := r.sound(ctx, s, cur, draft)
	if err == nil && valid == nil {
		m := *target.Manifest
		m.Own = tree.Unsigned(m.Own)
		target = &generation.Tree{Manifest: &m, Dir: target.Dir, Sparse: target.Sparse}
		err = r.rebuild(ctx, s, target, draft)
	}
	if err != nil {
		return nil, interrupted(err)
	}
	c := &candidate{draft: draft, rows: target.Own, kept: target.Own, treeID: target.TreeID, units: target.Units,
		kind: generation.KindSign, origin: cur.Origin, message: opt.Message,
		barred: cur.Barred, barredTrees: cur.BarredTrees}
	if valid != nil {
		c.units = valid.Catalog.Units
	} else if !target.Counts() {
		cat, err := stage.ReadCatalog(ctx, draft.Dir, r.format)
		if err != nil {
			return nil, err
		}
		c.units = cat.Units
	}
	res, err := r.commit(ctx, s, c, opt.DryRun)
	if res != nil {
		res.Warnings = noNil(res.Warnings)
		res.DurationMS = r.now().Sub(start).Milliseconds()
	}
	return res, err
}
