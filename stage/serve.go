package stage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Documents of a catalog.Server have two forms. Rows, tree ids and comparisons are
// about the own form, so whoever hashes a document hashes that. The files of a
// generation have the form that clients read.

// ReadServed reads a document in a tree, in either form.
func ReadServed(root *os.Root, path string) ([]byte, error) {
	f, st, err := tree.Open(root, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size > catalog.MaxDocument {
		return nil, &os.PathError{Op: "read", Path: path, Err: durable.ErrTooLong}
	}
	return durable.ReadBounded(f, catalog.MaxDocument)
}

// OwnRow returns the row of a document of which these are the bytes, in any form.
func OwnRow(f catalog.Server, path string, data []byte) tree.Row {
	sum := &counted{Hash: sha256.New()}
	_ = f.WriteOwn(sum, data) // a hash returns no error
	return tree.Row{Path: path, Size: sum.size, SHA256: hex.EncodeToString(sum.Sum(nil)), Role: catalog.Mutable}
}

// counted is a hash with the number of bytes.
type counted struct {
	hash.Hash
	size int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	return c.Hash.Write(p)
}

// RowOf returns the row of a mutable file with these bytes.
func RowOf(path string, own []byte) tree.Row {
	sum := sha256.Sum256(own)
	return tree.Row{Path: path, Size: int64(len(own)), SHA256: hex.EncodeToString(sum[:]), Role: catalog.Mutable}
}

// isOwn reports whether a document has the row in its own form, and names nothing else.
func isOwn(f catalog.Server, root *os.Root, row tree.Row) bool {
	data, err := ReadServed(root, row.Path)
	return err == nil && OwnRow(f, row.Path, data).SHA256 == row.SHA256 &&
		!slices.ContainsFunc(f.Names(row.Path, data), func(n catalog.Naming) bool { return n.Kind != catalog.NamedItself })
}

// Rewrite replaces a file in a private tree, and adds it to the batch.
func Rewrite(dir, path string, data []byte, batch *durable.Batch) error {
	full := join(dir, path)
	if err := os.Remove(full); err != nil {
		return err
	}
	return batch.WriteFile(full, data, 0o444)
}

// owned puts a document that was copied to dir into its own form. row is that of the
// copy; it returns that of the own form.
func owned(f catalog.Server, dir string, row tree.Row, batch *durable.Batch) (tree.Row, error) {
	path := row.Path
	data, err := durable.ReadFile(join(dir, path), catalog.MaxDocument)
	if errors.Is(err, durable.ErrTooLong) { // the format makes a finding of it
		return row, nil
	}
	if err != nil {
		return row, err
	}
	own := f.Own(data)
	if !bytes.Equal(own, data) {
		err = Rewrite(dir, path, own, batch)
	}
	return RowOf(path, own), err
}

// ListServed adds to the documents of a private tree at dir what clients ask for and only
// its indexes list: of a tree that was made from documents in their own form.
func ListServed(f catalog.Format, cat *catalog.Catalog, dir string) error {
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	if _, err := listAll(f, cat, dir, false, batch, &Report{}); err != nil {
		return err
	}
	return batch.Flush()
}

// listAll adds to the documents of a private tree at dir what the catalog lists for them.
// own says that they have their own form. The caller settles the times of those that it
// returns, which have changed.
func listAll(
	f catalog.Format, cat *catalog.Catalog, dir string, own bool, batch *durable.Batch, report *Report,
) (changed []string, err error) {
	server := catalog.Serving(f)
	if server == nil {
		return nil, nil
	}
	for _, path := range cat.Documents {
		if !server.Serves(path) || own && len(cat.Listed[path]) == 0 {
			continue
		}
		data, err := durable.ReadFile(join(dir, path), catalog.MaxDocument)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrTooLong) {
			continue // there is a finding
		}
		if err != nil {
			return nil, err
		}
		listed := server.List(data, cat.Listed[path])
		if bytes.Equal(data, listed) {
			continue
		}
		if len(listed) > catalog.MaxDocument {
			report.fail("too-large", path, "with all that its indexes list it has %d bytes; a document may have %d",
				len(listed), catalog.MaxDocument)
			continue
		}
		if err := Rewrite(dir, path, listed, batch); err != nil {
			return nil, err
		}
		changed = append(changed, path)
	}
	return changed, nil
}

// hashOwn reads a document and hashes its own form.
func hashOwn(f catalog.Server, r io.Reader, size int64, progress func(int64)) (sums, int64, error) {
	if size > catalog.MaxDocument {
		return sums{}, 0, durable.ErrTooLong
	}
	buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // else the last read doubles it
	_, err := buf.ReadFrom(io.LimitReader(countingReader{r, progress}, catalog.MaxDocument+1))
	if err == nil && buf.Len() > catalog.MaxDocument {
		err = durable.ErrTooLong
	}
	if err != nil {
		return sums{}, 0, err
	}
	data := buf.Bytes()
	row := OwnRow(f, "", data)
	return sums{row.SHA256, &moreSums{own: true, size: row.Size}}, int64(len(data)), nil
}
