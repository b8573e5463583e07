package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/tree"
)

const (
	// firstByte is how long a reader of content waits for the store to answer, at most, and
	// s3.timeout if that is less. The bytes after that take as long as they take, as long as
	// some come.
	firstByte = 10 * time.Second
	// piece is how much is asked for at once if it is not known how much will be read.
	piece = 1 << 20
)

// Open is generation.Elsewhere. It sends no request yet.
func (b *shared) Open(ctx context.Context, row tree.Row) (generation.Content, error) {
	o := &objectReader{ctx: ctx, store: b.site.Store, key: b.key(row), row: row,
		wait: min(firstByte, time.Duration(b.r.Config.S3.Timeout))}
	return generation.Content{ReadSeekCloser: o, Far: o}, nil
}

// objectReader reads the object of a row. Each answer of the store says how large the
// object is, and what digest its maker gave it: if one is not that of the row, no byte of
// it is passed on. Nothing is buffered.
type objectReader struct {
	ctx   context.Context
	store bucket.Store
	key   string
	row   tree.Row
	wait  time.Duration // for an answer

	pos    int64 // of the next Read
	body   io.ReadCloser
	at     int64 // of the next byte of body
	end    int64 // where body ends
	cancel context.CancelFunc
	failed error
}

var errSeek = errors.New("seek before the beginning")

// Seek is of io.Seeker.
func (o *objectReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.pos
	case io.SeekEnd:
		offset += o.row.Size
	}
	if offset < 0 {
		return o.pos, errSeek
	}
	o.pos = offset
	return offset, nil
}

// Read is of io.Reader.
func (o *objectReader) Read(p []byte) (int, error) {
	if o.pos >= o.row.Size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if o.body == nil || o.at != o.pos || o.at == o.end {
		if err := o.ask(o.pos, min(piece, o.row.Size-o.pos)); err != nil {
			o.failed = err
			return 0, err
		}
	}
	n, err := o.body.Read(p[:min(int64(len(p)), o.end-o.at)])
	o.at, o.pos = o.at+int64(n), o.pos+int64(n)
	switch {
	case n > 0:
		return n, nil // an error comes again
	case err == nil:
		return 0, nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	o.failed = o.explain(err)
	return 0, o.failed
}

// Expect is of generation.Far.
func (o *objectReader) Expect(from, n int64) error {
	if n > 0 {
		return o.ask(from, n)
	}
	var info *bucket.Info
	err := o.timed(func(ctx context.Context) (err error) {
		info, err = o.store.Head(ctx, o.key)
		return err
	})
	o.drop()
	if err != nil {
		return o.explain(err)
	}
	return o.check(info)
}

// Failed is of generation.Far.
func (o *objectReader) Failed() error { return o.failed }

// Close is of io.Closer.
func (o *objectReader) Close() error {
	o.drop()
	return nil
}

// ask asks for n bytes, at least one, from an offset.
func (o *objectReader) ask(from, n int64) error {
	o.drop()
	var got *bucket.Object
	err := o.timed(func(ctx context.Context) (err error) {
		got, err = o.store.Get(ctx, o.key, bucket.Get{From: from, Length: n})
		return err
	})
	if err != nil {
		o.drop()
		return o.explain(err)
	}
	o.body, o.at, o.end = got.Body, from, from+n
	if err := o.check(&got.Info); err != nil {
		o.drop()
		return err
	}
	return nil
}

// timed sends a request that the store has to answer in time. What it returns can be read
// until drop.
func (o *objectReader) timed(send func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(o.ctx)
	o.cancel = func() { cancel(context.Canceled) }
	late := time.AfterFunc(o.wait, func() { cancel(errLate) })
	err := send(ctx)
	if !late.Stop() && err == nil && ctx.Err() != nil {
		err = errLate
	}
	if err != nil && context.Cause(ctx) == errLate {
		return errLate
	}
	return err
}

var errLate = errors.New("the object store does not answer in time")

// drop ends the request at work.
func (o *objectReader) drop() {
	if o.cancel != nil {
		o.cancel()
		o.cancel = nil
	}
	if o.body != nil {
		_ = o.body.Close()
		o.body = nil
	}
}

// check compares an object with its row.
func (o *objectReader) check(info *bucket.Info) error {
	switch {
	case info.Size != o.row.Size:
		return fmt.Errorf("%s: %w: it has %d bytes, and not %d", o.key, generation.ErrOther, info.Size, o.row.Size)
	case info.SHA256 == "":
		return fmt.Errorf("%s: %w: it does not say its sha256, so publish did not make it", o.key, generation.ErrOther)
	case info.SHA256 != o.row.SHA256:
		return fmt.Errorf("%s: %w: it has the sha256 %s, and not %s", o.key, generation.ErrOther, info.SHA256, o.row.SHA256)
	}
	return nil
}

// explain makes of an error of the store one that generation.Elsewhere names.
func (o *objectReader) explain(err error) error {
	switch {
	case o.ctx.Err() != nil:
		return context.Cause(o.ctx)
	case errors.Is(err, bucket.ErrNotFound):
		return &fs.PathError{Op: "open", Path: o.key, Err: fs.ErrNotExist}
	case errors.Is(err, bucket.ErrMoved):
		return fmt.Errorf("%s: %w: it was replaced while it was read", o.key, generation.ErrOther)
	}
	return fmt.Errorf("%s: %w: %w", o.key, generation.ErrAway, err)
}
