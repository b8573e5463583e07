package oci

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strconv"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/unpack"
)

// window bounds what a packed archive may ask to be remembered, in bytes.
const window = 64 << 20

// An archive has at most so many files, and so many bytes of names and links: all of them
// are remembered until the last file has come.
const (
	maxNames     = 500_000
	maxNameBytes = 40 << 20
)

// What an archive unpacks to is at most so many times its size, beyond some bytes:
// more is made to fill the disk. Sparse files count also.
const (
	maxRatio  = 200
	freeBytes = 256 << 20
)

var errBomb = fmt.Errorf("unpacks to more than %d times its size", maxRatio)

// bomb counts the bytes of an archive, and of the files in it.
type bomb struct {
	io.Reader
	packed, plain int64
}

func (b *bomb) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.packed += int64(n)
	return n, err
}

// measured is the content of a file.
type measured struct {
	io.Reader
	*bomb
}

func (c measured) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.plain += int64(n); c.plain > freeBytes+maxRatio*c.packed {
		return n, errBomb
	}
	return n, err
}

// archive reads a tar archive, which may be packed by gzip or zstd.
func (p *parcel) archive(ctx context.Context, r io.Reader) error {
	counts := &bomb{Reader: catalog.Interruptible(ctx, r)}
	in := bufio.NewReaderSize(counts, 1<<16)
	head, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return fmt.Errorf("%s: %w", p.what, err)
	}
	var plain io.Reader = in
	for magic, kind := range map[string]string{"\x1f\x8b": unpack.Gzip, "\x28\xb5\x2f\xfd": unpack.Zstd} {
		if bytes.HasPrefix(head, []byte(magic)) {
			unpacked, done, err := unpack.Reader(in, kind, window)
			if err != nil {
				return fmt.Errorf("%s: %w", p.what, err)
			}
			defer done()
			plain = unpacked
		}
	}
	return p.unpack(ctx, entries(plain, counts))
}

// entries are the files and links of a tar archive. The stream is read to its end, which
// has the checksum if it is packed.
func entries(plain io.Reader, counts *bomb) iter.Seq2[catalog.Entry, error] {
	return func(yield func(catalog.Entry, error) bool) {
		for r := tar.NewReader(plain); ; {
			h, err := r.Next()
			if err == io.EOF {
				if _, err = io.Copy(io.Discard, measured{plain, counts}); err != nil {
					yield(catalog.Entry{}, err)
				}
				return
			}
			if err != nil {
				yield(catalog.Entry{}, err)
				return
			}
			e := catalog.Entry{Name: h.Name, Size: h.Size, Content: measured{r, counts}}
			switch h.Typeflag {
			case tar.TypeSymlink:
				e.Link = path.Join(path.Dir(h.Name), h.Linkname)
			case tar.TypeLink:
				e.Link = h.Linkname
			case tar.TypeReg:
			case tar.TypeDir, tar.TypeXGlobalHeader:
				continue
			default:
				yield(e, fmt.Errorf("%s: is neither a file, nor a directory, nor a link", catalog.Show(h.Name)))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// contents is what an archive has: its files are in the sink.
type contents struct {
	blobs map[catalog.Digest]file
	files map[string]file   // those that are no blobs, by name
	links map[string]string // names in the archive
	saved []byte            // manifest.json, which docker save writes; nil: there is none
	odd   error             // why index.json is none
	plain map[plainOf]catalog.Digest

	document map[string]bool // names of those that have come
}

// file is one of an archive.
type file struct {
	digest catalog.Digest
	size   int64
	at     string // its name in the sink
}

// unpack puts the files of an archive into the sink, and reads its index.
func (p *parcel) unpack(ctx context.Context, list iter.Seq2[catalog.Entry, error]) error {
	c := &contents{blobs: map[catalog.Digest]file{}, files: map[string]file{}, links: map[string]string{},
		plain: map[plainOf]catalog.Digest{}, document: map[string]bool{}}
	number, names := 0, 0
	for e, err := range list {
		if err != nil {
			return fmt.Errorf("%s: %w", p.what, err)
		}
		if number++; number > maxNames {
			return fmt.Errorf("%s: has more than %d files", p.what, maxNames)
		}
		if names += len(e.Name) + len(e.Link); names > maxNameBytes {
			return fmt.Errorf("%s: has more than %d bytes of names and links", p.what, maxNameBytes)
		}
		name, ok := inLayout(e.Name)
		switch {
		case !ok:
			err = errors.New("is a name that leads out of the archive, or is none")
		case c.has(name):
			err = errors.New("is there twice")
		default: // the name that the header has may be a part of a large text
			err = p.receive(ctx, c, strings.Clone(name), e)
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", p.what, catalog.Show(e.Name), err)
		}
	}
	p.bring = func(ctx context.Context, d catalog.Digest) (string, error) {
		if f, ok := c.blobs[d]; ok {
			return f.at, nil
		}
		return p.linked(ctx, c, d)
	}
	if c.saved != nil {
		return p.docker(ctx, c)
	}
	if c.odd != nil {
		return fmt.Errorf("%s: %s: %w", p.what, indexName, c.odd)
	}
	if p.index == nil {
		return catalog.WrongInput(hintSource, "%s: has no index.json and no manifest.json: this is no archive of images",
			p.what)
	}
	return nil
}

// has reports whether a name has come.
func (c *contents) has(name string) bool {
	if d, ok := digestAt(name); ok && c.blobs[d].at != "" {
		return true
	}
	_, file := c.files[name]
	_, link := c.links[name]
	return file || link || c.document[name]
}

// receive takes one file.
func (p *parcel) receive(ctx context.Context, c *contents, name string, e catalog.Entry) (err error) {
	if name == indexName || name == savedName || name == layoutName {
		c.document[name] = true
	}
	d, blob := digestAt(name)
	switch {
	case e.Link != "":
		to, _ := inLayout(e.Link)
		c.links[name] = strings.Clone(to)
	case name == indexName:
		p.index, c.odd, err = indexIn(e)
	case name == savedName:
		if e.Size > maxManifest {
			return fmt.Errorf("has %d bytes; it may have %d", e.Size, maxManifest)
		}
		c.saved, err = bounded(e.Content, e.Size)
	case blob && p.have[d].at != "": // another input had it
		c.blobs[d] = p.have[d]
	case blob:
		f := file{digest: d, at: part(d)}
		switch _, f.size, err = p.to.Put(ctx, f.at, e.Content, d); {
		case err == nil:
			c.blobs[d], p.have[d] = f, f
		case errors.Is(err, catalog.ErrDigest):
			return catalog.ErrDigest // its name is the digest
		}
	case name == layoutName:
		if e.Size > maxManifest {
			return fmt.Errorf("has %d bytes; it may have %d", e.Size, maxManifest)
		}
		var data []byte
		if data, err = bounded(e.Content, e.Size); err == nil {
			err = checkLayout(data)
		}
	default:
		f := file{at: path.Join("files", strconv.Itoa(p.number), name)}
		if f.digest, f.size, err = p.to.Put(ctx, f.at, e.Content); err == nil {
			c.files[name] = f
		}
	}
	return err
}

// linked returns the name in the sink of a blob that is a link to another file of the
// archive.
func (p *parcel) linked(ctx context.Context, c *contents, d catalog.Digest) (string, error) {
	f, ok := c.find(part(d))
	if !ok {
		return "", fs.ErrNotExist
	}
	got := f.digest
	if got.Algorithm != d.Algorithm {
		var err error
		if got, err = p.hash(ctx, f, d); err != nil {
			return "", err
		}
	}
	if got != d {
		return "", fmt.Errorf("%s: %s: %w", p.what, part(d), catalog.ErrDigest)
	}
	f.digest = d
	c.blobs[d], p.have[d] = f, f
	return f.at, nil
}

// indexIn reads index.json. odd is what is wrong with it, err what keeps it from being
// read.
func indexIn(e catalog.Entry) (x *index, odd, err error) {
	if e.Size > catalog.MaxDocument {
		return nil, nil, fmt.Errorf("has %d bytes; a document may have %d", e.Size, catalog.MaxDocument)
	}
	data, err := bounded(e.Content, e.Size)
	if err == nil {
		x, odd = parseIndex(data)
	}
	return x, odd, err
}

// digestAt is the digest in the path of a blob of a layout.
func digestAt(name string) (catalog.Digest, bool) {
	rest, ok := strings.CutPrefix(name, blobsName+"/")
	algorithm, digits, cut := strings.Cut(rest, "/")
	d := catalog.Digest{Algorithm: algorithm, Hex: digits}
	return d, ok && cut && d.Check() == nil
}
