package generation

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
	"example.com/publish/stage/unpack"
)

// A bundle carries one generation to a place without a network. It is a tar archive:
// first the sealed manifest, as it is, under BundleManifest; then the own files in the
// order of their paths. A file with the bytes of an earlier one is a hard link to it,
// and what the other side has already may be left out. The bytes are the same each
// time.
//
// What is read of a bundle is input from outside.

// BundleManifest is the name of the first file of a bundle.
const BundleManifest = ".publish-manifest"

// maxBundleManifest bounds the manifest of a bundle, in bytes: one of a million files.
const maxBundleManifest = 256 << 20

// bundleWindow bounds what a packed bundle may ask to be remembered, in bytes.
const bundleWindow = 64 << 20

// Bundled says what a bundle has.
type Bundled struct {
	Files   int   // contents that it has
	Bytes   int64 // of these
	Left    int   // files of the generation that it leaves out
	LeftOut int64 // bytes of these
}

// Bundle writes the generation of a view. text is its sealed manifest. Files whose
// content has is true for are left out. open copies the file of a row to w.
func Bundle(ctx context.Context, w io.Writer, v *View, text string, has func(sha256 string) bool,
	copy func(ctx context.Context, w io.Writer, row tree.Row) error) (*Bundled, error) {
	if len(text) > maxBundleManifest {
		return nil, &fault.Error{Fact: fmt.Sprintf("the manifest of generation %d has %d bytes; that of a bundle may have %d",
			v.Generation, len(text), maxBundleManifest), Hint: "divide the tree between two repositories"}
	}
	out := &Bundled{}
	t := tar.NewWriter(w)
	header := func(kind byte, name, link string, size int64) error {
		return t.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Linkname: link, Size: size, Mode: 0o644,
			ModTime: v.Time.UTC().Truncate(1e9)})
	}
	if err := header(tar.TypeReg, BundleManifest, "", int64(len(text))); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(t, text); err != nil {
		return nil, err
	}
	first := map[string]string{} // paths, by content
	for _, row := range v.Own {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		switch at, met := first[row.SHA256]; {
		case has(row.SHA256):
			out.Left++
			out.LeftOut += row.Size
			continue
		case row.Role == catalog.Link:
			var text string
			if text, err = v.Readlink(row.Path); err == nil {
				if hashOf(text) != row.SHA256 {
					return nil, fmt.Errorf("%s: %w", row.Path, catalog.ErrDigest)
				}
				err = header(tar.TypeSymlink, row.Path, text, 0)
			}
		case met:
			err = header(tar.TypeLink, row.Path, at, 0)
		default:
			first[row.SHA256] = row.Path
			out.Files++
			out.Bytes += row.Size
			if err = header(tar.TypeReg, row.Path, "", row.Size); err == nil {
				err = copy(ctx, t, row)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if err := v.Proved(); err != nil {
		return nil, err
	}
	return out, t.Close()
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Unbundle reads a bundle. begin gets the manifest, put the content of a row as often
// as there is another one. What is wrong with a bundle is an error of the kind Invalid.
func Unbundle(ctx context.Context, r io.Reader, begin func(*Manifest) error,
	put func(ctx context.Context, row tree.Row, content io.Reader) error) (*Manifest, error) {
	plain, done, err := unpack.Stream(catalog.Interruptible(ctx, r), bundleWindow)
	if err != nil {
		return nil, bad(err, "", "cannot be read")
	}
	defer done()
	end := &tail{r: plain}
	t := tar.NewReader(end)
	m, err := manifestIn(t)
	if err != nil {
		return nil, err
	}
	if err := begin(m); err != nil {
		return nil, err
	}
	u := &unbundler{rows: m.Own, seen: map[string]bool{}}
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, broken(ctx, err)
		}
		row, content, err := u.entry(h, t)
		if err == nil && content != nil {
			err = put(ctx, row, content)
		}
		if err != nil {
			return nil, broken(ctx, err)
		}
	}
	if !end.closed() {
		return nil, bad(nil, "", "is cut: it has no end")
	}
	return m, nil
}

// broken is the error of a bundle that breaks off; others stay what they are.
func broken(ctx context.Context, err error) error {
	var read *fs.PathError
	var known *fault.Error
	if ctx.Err() != nil || errors.As(err, &read) || errors.As(err, &known) {
		return err
	}
	return bad(err, "", "is damaged")
}

func bad(err error, path, fact string) error {
	return &fault.Error{Kind: fault.Invalid, Path: path, Fact: fact, Err: err}
}

func noBundle(err error) error {
	return &fault.Error{Kind: fault.Invalid, Fact: "is no bundle: it does not begin with " + BundleManifest, Err: err,
		Hint: "publish stage add takes images, and an archive of them"}
}

// manifestIn reads the first file, and checks what a generation has to promise.
func manifestIn(t *tar.Reader) (*Manifest, error) {
	h, err := t.Next()
	if err != nil && err != io.EOF {
		return nil, noBundle(err)
	}
	if err == io.EOF || h.Name != BundleManifest || h.Typeflag != tar.TypeReg {
		return nil, noBundle(nil)
	}
	return ReadForeign(t, h.Size)
}

// ReadForeign reads a manifest of so many bytes that comes from outside, and checks what
// a generation has to promise. The error is of the kind Invalid.
func ReadForeign(r io.Reader, size int64) (*Manifest, error) {
	if size > maxBundleManifest {
		return nil, bad(nil, BundleManifest, fmt.Sprintf("has %d bytes; it may have %d", size, maxBundleManifest))
	}
	text, err := manifestText(io.LimitReader(r, size), size)
	if err != nil {
		return nil, err
	}
	m, err := Decode(text)
	if err != nil {
		return nil, bad(err, BundleManifest, "")
	}
	if fact := unsound(m.Own); fact != "" {
		return nil, bad(nil, BundleManifest, fact)
	}
	if tree.ID(m.Own) != m.TreeID {
		return nil, bad(nil, BundleManifest, "has other rows than its tree id says")
	}
	return m, nil
}

// manifestText reads a manifest as far as its lines are some: one that is made to take
// much memory has to be long itself.
func manifestText(r io.Reader, size int64) (string, error) {
	in := bufio.NewReaderSize(r, maxLine)
	var text strings.Builder
	text.Grow(int(size)) // else it needs twice that while it grows; what is never written to takes no memory
	damaged := bad(ErrDamaged, BundleManifest, "")
	for n := 0; ; n++ {
		line, err := in.ReadSlice('\n')
		text.Write(line)
		for n == 1 && err == bufio.ErrBufferFull && text.Len() < maxHead { // it names all that was added
			line, err = in.ReadSlice('\n')
			text.Write(line)
		}
		switch {
		case err == io.EOF:
			return text.String(), nil
		case err == bufio.ErrBufferFull:
			return "", damaged
		case err != nil:
			return "", bad(err, BundleManifest, "is cut")
		case n == 0 && !magicLine.Match(line):
			return "", damaged
		case n == 0 && string(line) != manifestMagic:
			return text.String(), nil // of a newer version: Decode says so
		case n > 1 && !bytes.HasPrefix(line, []byte("end ")) && !new(Manifest).add(string(line[:len(line)-1]), nil):
			return "", bad(nil, BundleManifest, "is damaged, or of a newer version: it has an unknown line")
		}
	}
}

// Bounds on a line of a manifest, and on its head, in bytes. A path has at most 4096.
const (
	maxLine = 64 << 10
	maxHead = 64 << 20
)

// unsound returns what makes rows from outside no tree; "" for nothing. The codec has
// checked each path.
func unsound(rows []tree.Row) string {
	for i, row := range rows {
		switch {
		case !slices.Contains(roles, row.Role):
			return fmt.Sprintf("has %s with the unknown role %s", catalog.Show(row.Path), catalog.Show(string(row.Role)))
		case catalog.Reserved(row.Path):
			return "has " + catalog.Show(row.Path) + ", a name that belongs to publish"
		case i > 0 && rows[i-1].Path >= row.Path:
			return fmt.Sprintf("has %s twice, or not in its order", catalog.Show(row.Path))
		}
		for dir := path.Dir(row.Path); dir != "."; dir = path.Dir(dir) {
			if _, is := tree.Find(rows, dir); is {
				return fmt.Sprintf("has %s as a file and as a folder", catalog.Show(dir))
			}
		}
	}
	return ""
}

// unbundler checks the entries of a bundle.
type unbundler struct {
	rows []tree.Row
	seen map[string]bool // paths
}

// entry returns the row of an entry, and its content; none for a link to content that
// came before.
func (u *unbundler) entry(h *tar.Header, t io.Reader) (tree.Row, io.Reader, error) {
	row, ok := tree.Find(u.rows, h.Name)
	fail := func(fact string) (tree.Row, io.Reader, error) {
		return row, nil, bad(nil, catalog.Show(h.Name), fact)
	}
	switch {
	case !ok:
		return fail("is not in the manifest of the bundle")
	case u.seen[h.Name]:
		return fail("is there twice")
	}
	defer func() { u.seen[row.Path] = true }()
	switch h.Typeflag {
	case tar.TypeReg:
		if row.Role == catalog.Link {
			return fail("is a file, and a link in the manifest")
		}
		if h.Size != row.Size {
			return fail(fmt.Sprintf("has %d bytes, and %d in the manifest", h.Size, row.Size))
		}
		return row, t, nil
	case tar.TypeSymlink:
		if row.Role != catalog.Link || hashOf(h.Linkname) != row.SHA256 {
			return fail("is a link that the manifest does not have")
		}
		return row, bytes.NewReader([]byte(h.Linkname)), nil
	case tar.TypeLink:
		if to, ok := tree.Find(u.rows, h.Linkname); !ok || !u.seen[h.Linkname] || to.SHA256 != row.SHA256 {
			return fail("is a link to something else than its own content")
		}
		return row, nil, nil
	}
	return fail("is neither a file nor a link")
}

// tail passes bytes on, and knows whether a tar archive has its end: two blocks of
// zeros.
type tail struct {
	r    io.Reader
	last []byte
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.last = append(t.last, p[max(0, n-tarEnd):n]...)
	t.last = t.last[max(0, len(t.last)-tarEnd):]
	return n, err
}

const tarEnd = 1024

func (t *tail) closed() bool { return len(t.last) == tarEnd && len(bytes.Trim(t.last, "\x00")) == 0 }
