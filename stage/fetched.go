package stage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Fetched is what came of a server: whole, checked, and outside staging.
type Fetched struct {
	Name      string                 // what it is, for messages
	Documents map[string][]byte      // by their names in the directory that all of it makes
	Contents  map[string]FetchedFile // likewise
}

// FetchedFile is a file that has a content.
type FetchedFile struct {
	Path string // no link
	Move bool   // staging may take the file itself; else it is staging's own, or somebody else's
	// SHA256 is what its bytes are known to have, in hexadecimal, because they were hashed when
	// they came, and are durable; "" if it is not known. They are not read again.
	SHA256 string
	// Row is instead of Path for content that is in an object store, and not here. With
	// Present it counts as present in staging, so nothing is brought; else it is read from
	// there, with Open.
	Row     tree.Row
	Present bool
	Open    func(context.Context, tree.Row) (io.ReadCloser, error)
}

// fetched is f as an Input.
func (d *Delivery) fetched(ctx context.Context, f *Fetched) catalog.Input {
	return catalog.Input{Dir: f.Name, Inside: func(name string) (catalog.File, error) {
		if data, ok := f.Documents[name]; ok {
			return textFile{bytes.NewReader(data)}, nil
		}
		content, ok := f.Contents[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: f.Name + "/" + name, Err: os.ErrNotExist}
		}
		open := func() (io.ReadCloser, error) { return content.Open(ctx, content.Row) }
		if content.Open != nil && content.Present {
			return &presentFile{row: content.Row, open: open}, nil
		}
		if content.Open != nil {
			body, err := open()
			return &remoteFile{ReadCloser: body}, err
		}
		file, err := durable.Open(content.Path)
		if err != nil {
			return nil, err
		}
		fi, err := file.Stat()
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		s := sourceOf(content.Path, fi)
		s.known = content.SHA256
		d.mu.Lock()
		d.expected[content.Path] = s.stat.Size
		d.mu.Unlock()
		return &inputFile{File: file, path: content.Path, move: content.Move, inside: &s}, nil
	}}
}

// textFile is a small File of an Input, in memory.
type textFile struct{ io.Reader }

func (textFile) Close() error   { return nil }
func (textFile) Also(io.Writer) {}

// Holders returns a function that finds a sealed file of staging with a content, as
// staging is now; "" for none. The file may be gone, or another one, when it is opened:
// whoever reads it checks the digest.
func (s *Stage) Holders() func(catalog.Digest) (path string) {
	cache := tree.ReadCache(s.Hashes)
	return func(d catalog.Digest) string {
		if d.Algorithm != catalog.SHA256 {
			return ""
		}
		for p := range cache.Holders(d.Hex) {
			path := join(s.Dir, p)
			fi, err := os.Lstat(path)
			if err != nil || !fi.Mode().IsRegular() {
				continue
			}
			if sum, sealed, ok := cache.Lookup(p, tree.StatOf(fi)); ok && sealed && sum == d.Hex {
				return path
			}
		}
		return ""
	}
}
