package publish

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	stdhash "hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// A target in an object store is brought forward by its leader's own process. So nothing goes
// over a line: contents become bodies of uploads, which read production of the leader, and
// only documents are copied, to a draft.

// copyDocuments writes all that the target has no need to stream, and no link, to dir, which is private, in the form
// that clients read, without what is held there. near returns a file with the same bytes that
// may be linked; "" for none.
func (l *Lead) copyDocuments(ctx context.Context, dir string, away func(tree.Row) bool,
	near func(tree.Row) string) error {
	for _, row := range l.View.Own {
		if err := ctx.Err(); err != nil {
			return err
		}
		if away(row) || row.Role == catalog.Link {
			continue
		}
		at := filepath.Join(dir, filepath.FromSlash(row.Path))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if there := near(row); there != "" && os.Link(there, at) == nil {
			continue
		}
		data, err := l.document(ctx, row)
		if err == nil {
			err = os.WriteFile(at, data, 0o444)
		}
		if err != nil {
			return err
		}
	}
	return l.View.Proved()
}

// document reads a row that is no content.
func (l *Lead) document(ctx context.Context, row tree.Row) ([]byte, error) {
	if server := catalog.ServingAt(l.r.format, row.Path); server != nil {
		data, err := stage.ReadServed(l.View.Source().Root(), row.Path)
		if err == nil && stage.OwnRow(server, row.Path, data).SHA256 != row.SHA256 {
			err = fmt.Errorf("%s: %w", row.Path, catalog.ErrDigest)
		}
		if err != nil {
			return nil, err
		}
		return server.Hold(data, nil), nil
	}
	if row.Size > catalog.MaxDocument {
		return nil, &Error{Kind: Invalid, Path: row.Path,
			Fact: fmt.Sprintf("has %d bytes; a file that is no content may have %d in an object store", row.Size,
				catalog.MaxDocument)}
	}
	var data bytes.Buffer
	want := catalog.Digest{Algorithm: catalog.SHA256, Hex: row.SHA256}
	_, err := l.View.Source().CopyOut(ctx, &data, row.Path, want, nil)
	return data.Bytes(), err
}

// body is the content of a row, for an upload. Its bytes are compared with their digest while
// they are read.
func (l *Lead) body(ctx context.Context, row tree.Row) bucket.Body {
	return bucket.Body{Size: row.Size, SHA256: row.SHA256, Open: func(from int64) (io.ReadCloser, error) {
		content, err := l.View.Content(ctx, row)
		if err != nil {
			return nil, lastWord(err)
		}
		if _, err := content.Seek(from, io.SeekStart); err != nil {
			return nil, errors.Join(err, content.Close())
		}
		r := &bodyReader{Content: content, row: row, at: from}
		if from == 0 {
			r.sum = tree.NewSHA256()
		}
		return r, nil
	}}
}

// window is how much is asked for at once of content that is elsewhere.
const window = 16 << 20

// bodyReader reads a content of a leader.
type bodyReader struct {
	generation.Content
	row   tree.Row
	at    int64        // of the next byte
	asked int64        // up to there, of content elsewhere
	sum   stdhash.Hash // of all; nil if it does not begin at the beginning
}

// Read is of io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.Far != nil && b.at < b.row.Size && b.at >= b.asked {
		b.asked = min(b.row.Size, b.at+window)
		if err := b.Far.Expect(b.at, b.asked-b.at); err != nil {
			return 0, lastWord(err)
		}
	}
	n, err := b.Content.Read(p)
	b.at += int64(n)
	if err != nil && err != io.EOF {
		return n, lastWord(err)
	}
	if b.sum == nil {
		return n, err
	}
	b.sum.Write(p[:n])
	if b.at == b.row.Size && hex.EncodeToString(b.sum.Sum(nil)) != b.row.SHA256 {
		return 0, lastWord(fmt.Errorf("%s: %w, sha256:%s", b.row.Path, catalog.ErrDigest, b.row.SHA256))
	}
	return n, err
}

// lastWord makes an error of a body one after which nothing is sent again, unless it is
// about a line.
func lastWord(err error) error {
	if errors.Is(err, catalog.ErrDigest) || errors.Is(err, generation.ErrOther) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, generation.ErrMoved) {
		return &bucket.Refusal{Code: "body", Err: err}
	}
	return err
}

// explain says what is wrong with the leader, if that is why a sync failed.
func (l *Lead) explain(ctx context.Context, err error) error {
	return l.r.misread(ctx, l.View, "sent", err)
}
