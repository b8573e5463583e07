package publish

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Clone keeps a content that is in a file of this machine, without a copy of its bytes: the
// file system shares their data. It reads them, since no other file is believed. The error
// wraps [durable.ErrUnsupported] if the file system does not do that with this file; then,
// and for a file with other bytes, nothing is kept.
//
// A hard link would be cheaper. But the two repositories may have other owners, each of them
// counts the links of its own files, and a root who writes into one tree would write into
// both.
func (p *Reception) Clone(ctx context.Context, row tree.Row, from *os.File) error {
	dir, err := durable.OpenBelow(p.r.incoming(), ".")
	if err != nil {
		return err
	}
	defer dir.Close()
	p.batch.Add(dir.Path())
	f, err := dir.Create(incomingName(row))
	if errors.Is(err, fs.ErrExist) {
		return durable.ErrUnsupported
	}
	if err != nil {
		return err
	}
	clone := durable.Clone
	if p.r.clone != nil {
		clone = p.r.clone
	}
	sum := tree.NewSHA256()
	var n int64
	if err = clone(f, from); err == nil {
		n, err = tree.Spread(ctx, io.LimitReader(f, row.Size+1), sum)
	}
	if err == nil && (n != row.Size || hex.EncodeToString(sum.Sum(nil)) != row.SHA256) {
		err = &fs.PathError{Op: "clone", Path: from.Name(), Err: catalog.ErrDigest}
	}
	if err == nil {
		err = f.Chmod(0o444)
	}
	if err != nil {
		return errors.Join(err, f.Close(), dir.Remove(incomingName(row)))
	}
	if err := p.batch.Take(f); err != nil {
		return err
	}
	p.came[generation.ContentKey(row)] = true
	return p.r.at("received")
}
