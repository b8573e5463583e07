package mirror

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// part is a content that is being fetched, under its lock.
type part struct {
	c    *Content
	d    catalog.Digest
	size int64
	f    *os.File  // its end is n
	sum  hash.Hash // of the first n bytes
	n    int64
}

// Limits of patience with a server, for one Bring.
const (
	maxTries = 3       // for all of a content whose digest is wrong
	maxCuts  = 10      // of the body, without leap bytes between two of them
	leap     = 1 << 20 // bytes
)

// errWrong is returned for bytes that cannot be those that are asked for.
var errWrong = errors.New("wrong bytes")

// part opens the part of a content, and hashes what is there: after a power cut a file
// may have zeros where bytes were, so its length says nothing.
func (c *Content) part(ctx context.Context, d catalog.Digest, size int64) (*part, error) {
	sum, err := d.New()
	if err != nil {
		return nil, err
	}
	p := &part{c: c, d: d, size: size, sum: sum}
	path := c.path(d, partSuffix)
	p.f, err = durable.OpenAppend(path)
	if errors.Is(err, fs.ErrNotExist) {
		p.f, err = durable.Create(path)
	} else if errors.Is(err, fs.ErrPermission) && os.Chmod(path, 0o600) == nil { // a kill in Sync
		p.f, err = durable.OpenAppend(path)
	}
	if err != nil {
		return nil, err
	}
	if err := p.reread(ctx); err != nil {
		return nil, errors.Join(err, p.f.Close())
	}
	return p, nil
}

// reread hashes what the file has.
func (p *part) reread(ctx context.Context) error {
	buf := blocks.Get().(*[]byte)
	defer blocks.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := p.f.Read(*buf)
		p.sum.Write((*buf)[:n])
		p.n += int64(n)
		if errors.Is(err, io.EOF) {
			p.c.count(p.n)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// right reports whether the digest of the part is right.
func (p *part) right() bool { return hex.EncodeToString(p.sum.Sum(nil)) == p.d.Hex }

// reset throws away what is there.
func (p *part) reset() error {
	p.c.count(-p.n)
	p.n = 0
	p.sum.Reset()
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	_, err := p.f.Seek(0, io.SeekStart)
	return err
}

type getter = func(ctx context.Context, from int64) (io.ReadCloser, int64, error)

// fill makes the part whole.
func (p *part) fill(ctx context.Context, get getter) error {
	if p.right() && p.n != p.size {
		// Another job may have it, so it must stay.
		return catalog.Failed(catalog.WrongDigest, "", "%s: has %d bytes, and is said to have %d", p.d, p.n, p.size)
	}
	if p.n >= p.size && !p.right() && p.n > 0 {
		if err := p.reset(); err != nil {
			return err
		}
	}
	if p.size-p.n > leap { // the sum of small ones was asked for
		if err := p.c.room(p.size - p.n); err != nil {
			return err
		}
	}
	for try := 1; ; try++ {
		err := p.receive(ctx, get)
		if err != nil && !errors.Is(err, errWrong) {
			return err
		}
		if err == nil && p.right() {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%w: their digest is %s:%x", errWrong, p.d.Algorithm, p.sum.Sum(nil))
		}
		if err := p.reset(); err != nil {
			return err
		}
		if try == maxTries {
			_ = os.Remove(p.c.path(p.d, partSuffix))
			return catalog.Failed(catalog.WrongDigest, "", "%s: %w", p.d, err)
		}
	}
}

// receive asks for what is missing, again after each cut, until all is there.
func (p *part) receive(ctx context.Context, get getter) error {
	cuts, mark := 0, p.n
	for p.n < p.size {
		before := p.n
		body, first, err := get(ctx, p.n)
		if err != nil {
			return err
		}
		err = p.take(ctx, body, first)
		if err == nil {
			continue
		}
		if cut := (*cutError)(nil); !errors.As(err, &cut) {
			return err
		}
		if p.n-mark >= leap {
			cuts, mark = 0, p.n
		}
		if cuts++; p.n == before || cuts > maxCuts {
			return p.unreachable(err)
		}
	}
	return nil
}

// cutError is the error of a body that ended early.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

func (p *part) unreachable(err error) error {
	if remote := (*catalog.RemoteError)(nil); errors.As(err, &remote) {
		return remote
	}
	return &catalog.RemoteError{Class: catalog.Unreachable, Again: true,
		Err: fmt.Errorf("%s: the answer ends after %d of %d bytes: %w", p.d, p.n, p.size, err)}
}

// take appends a body that begins at first. The error is nil if the part has all its
// bytes then, a *cutError if the body ended early, and errWrong if it is longer.
func (p *part) take(ctx context.Context, body io.ReadCloser, first int64) error {
	defer body.Close()
	if first < 0 || first > p.n {
		return fmt.Errorf("%w: they begin at %d, not at %d", errWrong, first, p.n)
	}
	if err := p.skip(ctx, body, p.n-first); err != nil {
		return err
	}
	if err := p.copy(ctx, body); err != nil {
		return err
	}
	// To read the end also lets the connection be used again. What other error than the
	// end comes now does not matter: all bytes are here.
	var one [1]byte
	if n, _ := io.ReadFull(body, one[:]); n > 0 {
		return fmt.Errorf("%w: there are more than %d", errWrong, p.size)
	}
	return nil
}

// skip reads past what the part has.
func (p *part) skip(ctx context.Context, body io.Reader, n int64) error {
	buf := blocks.Get().(*[]byte)
	defer blocks.Put(buf)
	for n > 0 {
		m, err := body.Read((*buf)[:min(n, blockSize)])
		n -= int64(m)
		if err := ended(ctx, err); err != nil && n > 0 {
			return err
		}
	}
	return nil
}

// ended returns the error of a body before its end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = &cutError{err}
	}
	return err
}

// blockSize is what is read and written at once, in bytes. Three of them is all the
// memory that a content takes.
const blockSize = 256 << 10

var blocks = sync.Pool{New: func() any { b := make([]byte, blockSize); return &b }}

// copy appends a body until the part is whole. A large one is hashed by a goroutine while
// the next block is read and written.
func (p *part) copy(ctx context.Context, body io.Reader) error {
	hash, wait := func(b *[]byte, n int) { p.sum.Write((*b)[:n]); blocks.Put(b) }, func() {}
	if p.size-p.n > blockSize {
		type block struct {
			b *[]byte
			n int
		}
		feed := make(chan block, 1)
		var done sync.WaitGroup
		done.Go(func() {
			for b := range feed {
				p.sum.Write((*b.b)[:b.n])
				blocks.Put(b.b)
			}
		})
		hash, wait = func(b *[]byte, n int) { feed <- block{b, n} }, func() { close(feed); done.Wait() }
	}
	defer func() { wait() }()
	for p.n < p.size {
		b := blocks.Get().(*[]byte)
		n, readErr := read(body, (*b)[:min(p.size-p.n, blockSize)])
		if _, err := p.f.Write((*b)[:n]); err != nil {
			blocks.Put(b)
			return err // the next time, what was written is hashed again
		}
		p.n += int64(n)
		hash(b, n)
		p.c.count(int64(n))
		if err := ended(ctx, readErr); err != nil && p.n < p.size {
			return err
		}
	}
	return nil
}

// read fills buf, unless the reader ends or fails before: it says with what.
func read(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}
