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
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/unpack"
)

// window bounds what a packed archive may ask to be remembered, in bytes.
const window = 64 << 20

// maxNames bounds the files of an archive.
const maxNames = 1_000_000

// archive reads a tar archive, which may be packed by gzip or zstd.
func (p *parcel) archive(ctx context.Context, r io.Reader) error {
	in := bufio.NewReaderSize(catalog.Interruptible(ctx, r), 1<<16)
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
	return p.unpack(ctx, entries(tar.NewReader(plain)))
}

// entries are the regular files of a tar archive. What else is in it is passed
// over: a layout has neither links nor devices.
func entries(r *tar.Reader) iter.Seq2[catalog.Entry, error] {
	return func(yield func(catalog.Entry, error) bool) {
		for {
			h, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(catalog.Entry{}, err)
				return
			}
			if h.Typeflag == tar.TypeReg && !yield(catalog.Entry{Name: h.Name, Size: h.Size, Content: r}, nil) {
				return
			}
		}
	}
}

// unpack puts the blobs of an archive into the sink, and reads its index.
func (p *parcel) unpack(ctx context.Context, list iter.Seq2[catalog.Entry, error]) error {
	there := map[catalog.Digest]bool{}
	seen := map[string]bool{}
	fail := func(name string, err error) error { return fmt.Errorf("%s: %s: %w", p.what, catalog.Show(name), err) }
	n := 0
	for e, err := range list {
		if n++; n > maxNames {
			return fmt.Errorf("%s: has more than %d files", p.what, maxNames)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.what, err)
		}
		name, ok := inLayout(e.Name)
		if !ok {
			return fail(e.Name, errors.New("is a name that leads out of the archive, or is none"))
		}
		if seen[name] {
			return fail(name, errors.New("is there twice"))
		}
		seen[name] = true
		if name == indexName {
			if p.index, err = indexIn(e); err != nil {
				return fail(name, err)
			}
			continue
		}
		d, is := digestAt(name)
		if !is {
			continue // nothing leads to it
		}
		if _, _, err := p.to.Put(ctx, part(d), e.Content, d); err != nil {
			return fail(name, err)
		}
		there[d] = true
	}
	if p.index == nil {
		return catalog.Usage("", "%s: has no index.json: this is no OCI archive", p.what)
	}
	p.bring = func(_ context.Context, d catalog.Digest) error {
		if !there[d] {
			return fs.ErrNotExist
		}
		return nil
	}
	return nil
}

func indexIn(e catalog.Entry) (*index, error) {
	if e.Size > catalog.MaxDocument {
		return nil, fmt.Errorf("has %d bytes; a document may have %d", e.Size, catalog.MaxDocument)
	}
	data, err := bounded(e.Content)
	if err != nil {
		return nil, err
	}
	return parseIndex(data)
}

// digestAt is the digest in the path of a blob of a layout.
func digestAt(name string) (catalog.Digest, bool) {
	rest, ok := strings.CutPrefix(name, blobsName+"/")
	algorithm, digits, cut := strings.Cut(rest, "/")
	d := catalog.Digest{Algorithm: algorithm, Hex: digits}
	return d, ok && cut && d.Check() == nil
}
