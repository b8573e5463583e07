package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// switchTo makes a candidate production; see Repo.commit, whose part it is for a
// production in an object store. m is its manifest. The error is a *bucket.MovedError if
// another machine switched first.
//
//  1. upload what production does not have: content, documents
//  2. commit: the manifest, the line of the history, and then the pointer, which is the
//     commit point
//  3. files of readers beside the pointer, which no document names
//  4. the health check, gc and hooks, as for any switch
func (b *shared) switchTo(
	ctx context.Context, s *state, c *candidate, m *generation.Manifest, res *Result,
) (*Result, error) {
	r, on := b.r, b.at
	if err := errors.Join(r.upgrade(), m.Encode(io.Discard)); err != nil { // that makes the seal
		return nil, err
	}
	if err := r.hook(ctx, "before_switch", r.Config.Hooks.BeforeSwitch, m.Head); err != nil {
		switch {
		case ctx.Err() != nil:
			return nil, interrupted(ctx.Err())
		case m.Kind == generation.KindPromote:
			return nil, fmt.Errorf("production is unchanged: %w", err)
		}
		r.opt.Warn(fmt.Sprintf("%v; the switch continues, because this hook can stop only a promote", err))
	}
	up, err := b.uploads(ctx, s, c)
	if err != nil {
		return nil, err
	}
	bare, err := b.bare(s, m)
	if err == nil {
		err = b.upload(ctx, on, slices.Concat(up.objects, bare))
	}
	if err != nil {
		return nil, err
	}
	commit, err := b.switching(ctx, on, m)
	if err != nil {
		return nil, err
	}
	commit.Document = up.document
	up.turnover.commits(&commit)
	begin := time.Now()
	now, err := b.commit(ctx, on, commit)
	if err != nil {
		return nil, interrupted(err)
	}
	ctx = context.WithoutCancel(ctx)
	res.Warnings = append(res.Warnings, up.warnings...)
	res.SwitchUS = time.Since(begin).Microseconds()
	if err := b.arrived(ctx, s, c.draft, m, now); err != nil {
		return res, afterSwitch(m.Generation, "run publish recover", err)
	}
	if err := b.beside(ctx, up.turnover); err != nil {
		return res, afterSwitch(m.Generation, "files beside the index are not all replaced; run publish recover", err)
	}
	if err := r.follow(ctx, s, m); err != nil {
		if s.current != nil && s.current.Generation > m.Generation {
			return nil, err
		}
		return res, err
	}
	return res, nil
}

// switching is the commit of a switch to m.
func (b *shared) switching(ctx context.Context, on *bucket.Pointer, m *generation.Manifest) (bucket.Commit, error) {
	h, err := b.history(ctx, on)
	if err != nil {
		return bucket.Commit{}, err
	}
	e := switchEvent(&m.Head)
	e.Time = latest(m.Time, h.Newest(), on.Date)
	var pending *bucket.Pending
	if check := b.r.Config.HealthCheck; len(check.Command) > 0 && m.Kind != generation.KindAutoRevert {
		e.Switch().Health = journal.HealthPending
		pending = b.mine(e.Time)
	}
	line, err := h.Add(e)
	if err != nil {
		return bucket.Commit{}, err
	}
	summary, err := h.Summary(append(append(b.kept(on), m.Generation), dropped(m)...))
	if err != nil {
		return bucket.Commit{}, err
	}
	c := bucket.Commit{Nonce: bucket.NewNonce(), Manifest: m, Event: line, History: summary, Pending: pending}
	if len(m.Revoked)+len(m.Unnamed) > 0 {
		c.Graves, err = b.graves(ctx, on, tombstone.Stone{Time: e.Time, Who: m.Who, Why: m.Message, Before: m.Generation,
			Revoked: m.Revoked, Unnamed: m.Unnamed})
	}
	return c, err
}

// arrived makes the copies of a switch that this machine made, and the state after it.
// What staging has and lacks is compared with this generation from now on, after a revert
// too: then promote refuses what was reverted, until it is out of staging.
func (b *shared) arrived(ctx context.Context, s *state, d *generation.Draft, m *generation.Manifest,
	now *bucket.Pointer) error {
	if err := b.r.store.FurnishFrom(ctx, d, m); err != nil {
		b.r.opt.Warn(fmt.Sprintf("the copy of generation %d was not made: %v", m.Generation, err))
	}
	after, err := b.state(ctx, now)
	if err != nil {
		return err
	}
	*s = *after
	if err := b.rest(ctx, m); err != nil {
		return err
	}
	return os.Remove(b.intentPath())
}

// rest makes m what staging is made from. Of a tree without indexes, what staging removed
// before is no removal from m.
func (b *shared) rest(ctx context.Context, m *generation.Manifest) error {
	if was, err := b.base(); err == nil && was != 0 && !gone(filepath.Join(b.r.Stage.Dir, stage.RemovedList)) {
		if base, err := b.r.store.Manifest(was); err == nil {
			if _, err := b.r.Stage.Rebase(ctx, string(m.Kind), b.side(base), b.side(m), b.r.trash()); err != nil {
				return err
			}
		}
	}
	return b.setBase(m.Generation)
}

// uploading is what a switch sends, on top of the commit with a nonce, and with the signatures of
// a generation.
type uploading struct {
	on       string
	signedAs int
	objects  []bucket.Upload
	document []byte    // what clients read, in the pointer; nil for none
	turnover *turnover // objects that are written after the switch
	warnings []catalog.Finding
}

// send uploads what a candidate has and production does not.
func (b *shared) send(ctx context.Context, s *state, c *candidate) error {
	up, err := b.uploads(ctx, s, c)
	if err != nil {
		return err
	}
	return b.upload(ctx, b.at, up.objects)
}

// atOnce is how many bytes are sent under the production lock: a revert waits for them, on a slow
// line for some seconds.
const atOnce = 8 << 20

// sendAhead is send if that takes more than atOnce. Less waits until it is known that production
// is still what the candidate was made from: where many promote at once, most catalogs would be
// sent in vain.
func (b *shared) sendAhead(ctx context.Context, s *state, c *candidate) error {
	up, err := b.uploads(ctx, s, c)
	if err != nil {
		return err
	}
	lacks, err := b.site.Lacks(ctx, b.at, up.objects)
	if err != nil || lacks <= atOnce {
		return interrupted(b.replaced(err))
	}
	return b.upload(ctx, b.at, up.objects)
}

// upload sends objects that are not there.
func (b *shared) upload(ctx context.Context, on *bucket.Pointer, objects []bucket.Upload) error {
	_, err := b.site.Upload(ctx, on, objects)
	return interrupted(b.replaced(err))
}

// uploads works out what the candidate has and production does not. What a kept generation
// has is in the store, too, so that a revert sends nothing of it. It is worked out once for a
// candidate, as long as production stays the same.
func (b *shared) uploads(ctx context.Context, s *state, c *candidate) (*uploading, error) {
	if c.up == nil || c.up.on != b.at.Nonce || c.up.signedAs != c.signedAs {
		up, err := b.findUploads(ctx, s, c)
		if err != nil {
			return nil, err
		}
		c.up = up
	}
	return c.up, nil
}

func (b *shared) findUploads(ctx context.Context, s *state, c *candidate) (*uploading, error) {
	if i := slices.IndexFunc(c.rows, func(row tree.Row) bool { return row.Role == catalog.Link }); i >= 0 {
		return nil, &FindingsError{Report: &stage.Report{Findings: []catalog.Finding{{Severity: catalog.Error, Code: "link",
			Path: c.rows[i].Path, Message: "is a symbolic link, and an object store has none"}}}}
	}
	next, err := b.place(ctx, c.draft.Dir, c.rows)
	if err != nil {
		return nil, err
	}
	if report := (&stage.Report{Findings: next.Findings}); len(report.Errors()) > 0 {
		return nil, &FindingsError{Report: report}
	}
	out := &uploading{on: b.at.Nonce, signedAs: c.signedAs, document: next.Pointer, warnings: next.Findings}
	has, kept := tree.NewRows(nil), tree.NewRows(c.kept)
	there := map[string]string{} // digests of objects
	if s.current != nil {
		was, err := b.placed(ctx, s.current.Manifest)
		if err != nil {
			return nil, err
		}
		for _, o := range was.Objects {
			there[o.Key] = o.SHA256
		}
		has = tree.NewRows(s.current.Own) // what is carried may be on its way out
	}
	same := func(rows tree.Rows, row tree.Row) bool {
		was, ok := rows.Get(row.Path)
		return ok && was.SHA256 == row.SHA256
	}
	file := func(o *stage.Object) string { return filepath.Join(c.draft.Dir, filepath.FromSlash(o.Row.Path)) }
	body := func(o *stage.Object) bucket.Body {
		if c.body != nil && o.Data == nil && b.Away(o.Row) {
			return c.body(o.Row)
		}
		if o.Data == nil && !gone(file(o)) {
			return bodyOf(file(o), o.Row)
		}
		return b.far(o)
	}
	placed := map[string]bool{} // documents that lie there as clients read them
	for i := range next.Objects {
		o := &next.Objects[i]
		placed[o.Row.Path] = placed[o.Row.Path] || o.Data != nil
		if there[o.Key] == o.SHA256 || same(kept, o.Row) {
			continue
		}
		if c.body == nil && o.Data == nil && o.Key == b.key(o.Row) && gone(file(o)) {
			continue // a kept generation has it, so it is there
		}
		out.objects = append(out.objects, bucket.Upload{Key: o.Key, Type: o.Type, Body: body(o)})
	}
	for _, row := range c.rows {
		if row.Role == catalog.Content || placed[row.Path] || same(has, row) || same(kept, row) {
			continue
		}
		path := filepath.Join(c.draft.Dir, filepath.FromSlash(row.Path))
		if b.Away(row) {
			u := bucket.Upload{Key: b.key(row), Type: catalog.MediaType(row.Path)}
			if u.Body = bodyOf(path, row); c.body != nil {
				u.Body = c.body(row)
			}
			out.objects = append(out.objects, u)
			continue
		}
		data, err := durable.ReadFile(path, catalog.MaxDocument)
		if err != nil {
			return nil, err
		}
		out.objects = append(out.objects, bucket.FileUpload(row, data))
	}
	if c.sent != nil {
		for i, u := range out.objects {
			out.objects[i] = c.sent.counted(u)
		}
	}
	out.turnover, err = b.turnBeside(ctx, b.at, next, false, body)
	return out, err
}

// bodyOf is the content of a file.
func bodyOf(path string, row tree.Row) bucket.Body {
	return bucket.Body{Size: row.Size, SHA256: row.SHA256, Open: func(from int64) (io.ReadCloser, error) {
		f, err := durable.OpenNamed(path)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}}
}

// far is the content of an object whose file is not here, but in the store under another
// name, or among the documents of a kept generation.
func (b *shared) far(o *stage.Object) bucket.Body {
	if o.Data != nil {
		return bytesBody(o.Data, o.SHA256)
	}
	row := o.Row
	return bucket.Body{Size: o.Size, SHA256: o.SHA256, Open: func(from int64) (io.ReadCloser, error) {
		if !b.Away(row) {
			data, err := b.Document(context.Background(), row)
			return io.NopCloser(bytes.NewReader(data[min(from, int64(len(data))):])), err
		}
		got, err := b.site.Open(context.Background(), b.key(row), bucket.Get{From: from})
		if err != nil {
			return nil, err
		}
		return got.Body, nil
	}}
}

func bytesBody(data []byte, sha256 string) bucket.Body {
	return bucket.Body{Size: int64(len(data)), SHA256: sha256, Open: func(from int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[from:])), nil
	}}
}

// replaced makes the finding of an object that has other content.
func (b *shared) replaced(err error) error {
	if e := new(bucket.ReplacedError); errors.As(err, &e) {
		return &FindingsError{Report: &stage.Report{Findings: []catalog.Finding{{Severity: catalog.Error,
			Code: "content-replaced", Path: e.Key, Message: "the object store has other content under this key: " + e.Error()}}}}
	}
	return b.explain(err)
}
