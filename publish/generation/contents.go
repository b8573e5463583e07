package generation

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Contents of a generation go to another machine as a tar archive: each content once,
// under the path of a row that has it. It is a bundle of what was asked for, without
// the manifest, and its end is not the end of the stream.

// ContentKey says what a row needs: the text of a link is told from a file with the same
// bytes.
func ContentKey(row tree.Row) string {
	if row.Role == catalog.Link {
		return "link:" + row.SHA256
	}
	return row.SHA256
}

// WriteContents writes the contents of some own rows of a view. copy writes the file of
// a row to w.
func WriteContents(ctx context.Context, w io.Writer, v *View, rows []tree.Row,
	copy func(ctx context.Context, w io.Writer, row tree.Row) error) error {
	t := tar.NewWriter(w)
	for _, row := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: row.Path, Size: row.Size, Mode: 0o644}
		if row.Role == catalog.Link {
			text, err := v.Readlink(row.Path)
			if err != nil {
				return err
			}
			if hashOf(text) != row.SHA256 {
				return fmt.Errorf("%s: %w", row.Path, catalog.ErrDigest)
			}
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, text, 0
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if row.Role == catalog.Link {
			continue
		}
		if err := copy(ctx, t, row); err != nil {
			return err
		}
	}
	if err := v.Proved(); err != nil {
		return err
	}
	return t.Close()
}

// ReadContents reads what WriteContents wrote for these rows, which are some of the own
// rows of m, and no byte more. What the archive has is input from outside: each entry
// must have the content of one of the rows, and all of them must be there. put gets a content, or the
// text of a link.
func ReadContents(ctx context.Context, r io.Reader, m *Manifest, rows []tree.Row,
	put func(ctx context.Context, row tree.Row, content io.Reader) error) error {
	wanted := make(map[string]bool, len(rows))
	for _, row := range rows {
		wanted[ContentKey(row)] = true
	}
	of := func(h *tar.Header) string { // the content of an entry
		row, ok := tree.Find(m.Own, h.Name)
		if !ok {
			return ""
		}
		return ContentKey(row)
	}
	all := len(wanted)
	t := tar.NewReader(catalog.Interruptible(ctx, r))
	u := &unbundler{rows: m.Own, seen: map[string]bool{}}
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return cut(ctx, err)
		}
		if !wanted[of(h)] {
			return bad(nil, catalog.Show(h.Name), "was not asked for")
		}
		delete(wanted, of(h))
		row, content, err := u.entry(h, t)
		if err == nil && content == nil {
			err = bad(nil, catalog.Show(h.Name), "is a link to another file")
		}
		if err == nil {
			err = put(ctx, row, content)
		}
		if err != nil {
			return cut(ctx, err)
		}
	}
	if len(wanted) > 0 {
		return bad(nil, "", fmt.Sprintf("%d of %d contents did not come", len(wanted), all))
	}
	return nil
}

// cut is the error of contents that break off; errors of this side, and those that say
// what is wrong, stay what they are.
func cut(ctx context.Context, err error) error {
	var local *fs.PathError
	var known *fault.Error
	if ctx.Err() != nil || errors.As(err, &local) || errors.As(err, &known) || errors.Is(err, catalog.ErrDigest) {
		return err
	}
	return &fault.Error{Fact: "the contents break off", Err: err}
}
