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
	if err == nil {
		err = b.bare(s, m, up)
	}
	if err == nil {
		err = b.upload(ctx, on, up.objects)
	}
	if err != nil {
		return nil, err
	}
	commit, err := b.switching(ctx, on, m)
	if err != nil {
		return nil, err
	}
	commit.Document, commit.Settled = up.document, len(up.beside) == 0
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
	if err := b.beside(ctx, up.beside); err != nil {
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
		pending = &bucket.Pending{Who: b.me(), Until: e.Time.Add(time.Duration(check.Timeout) + healthSlack)}
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

// healthSlack is how long after its time limit a health check of another machine counts
// as ended, without a result.
const healthSlack = 30 * time.Second

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

// uploading is what a switch sends.
type uploading struct {
	objects  []bucket.Upload
	document []byte          // what clients read, in the pointer; nil for none
	beside   []bucket.Upload // objects that are replaced after the switch
	lost     []string        // paths of files that readers do not find in the store
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

// upload sends objects that are not there.
func (b *shared) upload(ctx context.Context, on *bucket.Pointer, objects []bucket.Upload) error {
	_, err := b.site.Upload(ctx, on, objects)
	return interrupted(b.replaced(err))
}

// uploads works out what the candidate has and production does not. What a kept generation
// has is in the store, too, so that a revert sends nothing of it.
func (b *shared) uploads(ctx context.Context, s *state, c *candidate) (*uploading, error) {
	out := &uploading{}
	placed, err := b.place(ctx, c.draft.Dir, c.rows, out)
	if err != nil {
		return nil, err
	}
	var has tree.Rows
	if s.current != nil {
		has = tree.NewRows(s.current.Own) // what is carried may be on its way out
	}
	same := func(rows tree.Rows, row tree.Row) bool {
		was, ok := rows.Get(row.Path)
		return ok && was.SHA256 == row.SHA256
	}
	there := tree.NewRows(c.kept)
	for _, row := range c.rows {
		d, isPlaced := placed[row.Path]
		delete(placed, row.Path)
		if same(has, row) {
			continue
		}
		path := filepath.Join(c.draft.Dir, filepath.FromSlash(row.Path))
		switch {
		case row.Role == catalog.Link:
			return nil, &FindingsError{Report: &stage.Report{Findings: []catalog.Finding{{Severity: catalog.Error, Code: "link",
				Path: row.Path, Message: "is a symbolic link, and an object store has none"}}}}
		case row.Role == catalog.Content:
			if gone(path) || same(there, row) {
				continue // a kept generation has it, so it is there
			}
			out.objects = append(out.objects, bucket.Upload{Key: row.Path, Type: b.typeOf(row.Path),
				Body: bodyOf(path, row)})
		case isPlaced:
			if !same(there, row) {
				out.objects = append(out.objects, d...)
			}
		default:
			data, err := durable.ReadFile(path, catalog.MaxDocument)
			if err != nil {
				return nil, err
			}
			if !same(there, row) {
				out.objects = append(out.objects, bucket.FileUpload(row, data))
			}
			if b.r.Config.S3.Readers == ReadersBucket && row.Path != b.pointerKey() && !slices.Contains(out.lost, row.Path) {
				out.beside = append(out.beside, bucket.Upload{Key: row.Path, Type: b.typeOf(row.Path),
					Body: bytesBody(data, row.SHA256), Mutable: true})
			}
		}
	}
	for _, d := range placed { // that no row has
		out.objects = append(out.objects, d...)
	}
	return out, nil
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

// beside replaces objects that no document names, and notes that it is done.
func (b *shared) beside(ctx context.Context, objects []bucket.Upload) error {
	if len(objects) == 0 {
		return nil
	}
	if err := b.site.Put(ctx, b.at, objects); err != nil {
		return b.explain(err)
	}
	h, err := b.history(ctx, b.at)
	if err != nil {
		return err
	}
	c, err := b.step(h, b.at)
	if err != nil {
		return err
	}
	c.Settled = true
	_, err = b.commit(ctx, b.at, c)
	if moved := new(bucket.MovedError); errors.As(err, &moved) {
		return nil // whoever switched since replaces them
	}
	return err
}
