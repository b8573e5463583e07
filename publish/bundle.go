package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Bundled is the result of Bundle.
type Bundled struct {
	generation.Bundled
	Generation int
	Base       int // 0 for none
	TreeID     string
}

// Bundle writes a bundle of production, or of a kept generation given by its number. It
// leaves out content that the own rows of base have; "" for none. It takes no lock. If
// gc takes the tree meanwhile, or anything else fails, what it wrote has no end, and
// ImportBundle refuses it.
func (r *Repo) Bundle(ctx context.Context, w io.Writer, name, base string) (*Bundled, error) {
	v, err := r.view(ctx, name)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	out := &Bundled{Generation: v.Generation, TreeID: v.TreeID}
	had := map[string]bool{}
	if base != "" {
		b, err := r.view(ctx, base)
		if err != nil {
			return nil, err
		}
		out.Base = b.Generation
		for _, row := range b.Own {
			had[row.SHA256] = true
		}
		if err := b.Close(); err != nil {
			return nil, err
		}
	}
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	var total int64
	for _, row := range v.Own {
		if graves.Redacted(v.Generation, row) {
			return nil, redacted(v.Generation, row, graves, "export a later generation")
		}
		if !had[row.SHA256] {
			total += row.Size
		}
	}
	text, err := r.sealedText(v)
	if err != nil {
		return nil, err
	}
	done := func(int64) {}
	if r.opt.Progress != nil {
		done = r.opt.Progress("export", total)
	}
	b, err := generation.Bundle(ctx, w, v, text, func(sha256 string) bool { return had[sha256] },
		func(ctx context.Context, w io.Writer, row tree.Row) error {
			if server := catalog.ServingAt(r.format, row.Path); server != nil && row.Role != catalog.Link {
				return writeOwn(w, server, v, row)
			}
			return v.CopyOut(ctx, w, row, done)
		})
	if err != nil {
		return nil, r.misread(ctx, v, "exported", err)
	}
	out.Bundled = *b
	return out, nil
}

// writeOwn writes a document in its own form, which its row is about.
func writeOwn(w io.Writer, server catalog.Server, v *generation.View, row tree.Row) error {
	data, err := stage.ReadServed(v.Source().Root(), row.Path)
	if err != nil {
		return err
	}
	own := server.Own(data)
	if stage.OwnRow(server, row.Path, own).SHA256 != row.SHA256 {
		return fmt.Errorf("%s: %w", row.Path, catalog.ErrDigest)
	}
	_, err = w.Write(own)
	return err
}

// sealedText is the manifest of a view as it is sealed.
func (r *Repo) sealedText(v *generation.View) (string, error) {
	path := r.store.ManifestPath(v.Generation)
	text, err := durable.ReadText(path, maxText)
	if err != nil {
		return "", err
	}
	if m, err := generation.Decode(text); err != nil || m.Seal != v.Seal {
		return "", &Error{Path: path, Fact: "changed while it was read", Err: err, Hint: "run it again"}
	}
	return text, nil
}

// maxText bounds a manifest that is exported, in bytes.
const maxText = 2 << 30

// BundleImport is the result of ImportBundle.
type BundleImport struct {
	Generation int    // of the bundle
	TreeID     string // of its own rows
	Received   int    // files that came
	Bytes      int64  // of these
	Report     *stage.Report
	// Added and Dropped count the files of staging that changed.
	Added, Dropped int
	Merged         *stage.Imported // instead of them, for a merge
}

// ImportBundle makes staging the generation of a bundle. What else was staged waits in
// trash for one grace window; with merge it stays, as Import does it. Content that the
// bundle leaves out is taken from staging and from the generations that are here, or in the
// object store; what counts as present in staging there stays there.
//
// Nothing changes unless all is there and right: the error is of the kind Invalid for a
// bundle that is wrong, and NotFound for content that is not to be had. With force
// it accepts revoked content.
func (r *Repo) ImportBundle(ctx context.Context, in io.Reader, merge, force bool) (*BundleImport, error) {
	if err := r.allows("stage import"); err != nil {
		return nil, err
	}
	out := &BundleImport{}
	var a *stage.Assembly
	defer func() {
		if a != nil {
			a.Close()
		}
	}()
	m, err := generation.Unbundle(ctx, in, func(m *generation.Manifest) (err error) {
		if m.Format != r.format.Name() {
			return &Error{Kind: Usage,
				Fact: fmt.Sprintf("the bundle is of format %s; this repository's is %s", m.Format, r.format.Name())}
		}
		a, err = r.receiving(force).Assemble(ctx, "stage import", tree.Unsigned(m.Own))
		return err
	}, func(ctx context.Context, row tree.Row, content io.Reader) error {
		out.Received++
		out.Bytes += row.Size
		if row.Role == catalog.Signature { // the next promote makes its own
			return nil
		}
		return a.Put(ctx, row, content)
	})
	if err != nil && ctx.Err() != nil {
		return nil, interrupted(ctx.Err()) // not the bundle's fault
	}
	if err != nil {
		return nil, err
	}
	out.Generation, out.TreeID = m.Generation, m.TreeID
	if err := r.lend(ctx, a); err != nil {
		return nil, err
	}
	out.Report, err = a.Finish(ctx)
	if lacks := new(stage.LacksError); errors.As(err, &lacks) {
		return nil, &Error{Kind: NotFound, Err: err, Hint: "export it without --base, or import the base first"}
	}
	if err != nil {
		return nil, err
	}
	if merge {
		out.Merged, err = a.Merge(ctx)
	} else {
		out.Added, out.Dropped, err = a.Become(ctx, r.trash())
	}
	r.tell(leftInStaging)
	return out, refused(r.locks().explain(err))
}

// lend lends content of the generations that are here, the newest first.
func (r *Repo) lend(ctx context.Context, a *stage.Assembly) error {
	s, err := r.load(ctx)
	if err != nil {
		return err
	}
	if r.shared != nil {
		return r.shared.lend(ctx, a)
	}
	live := 0
	if s.current != nil {
		live = s.current.Generation
	}
	kept, err := r.store.Kept(live)
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(kept) {
		if len(a.Lacks()) == 0 {
			return nil
		}
		v, err := r.view(ctx, fmt.Sprint(n))
		var e *fault.Error
		if errors.As(err, &e) { // it is deleted, or damaged: others may have it
			continue
		}
		if err != nil {
			return err
		}
		a.Lend(v.Source(), slices.Collect(v.All()))
	}
	return nil
}
