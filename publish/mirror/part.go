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
	"sync/atomic"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// part is a content that is being fetched. Its file is its lock too: a file more for each of
// many small contents would take a tenth of the processor time of their job.
type part struct {
	c    *Content
	d    catalog.Digest
	size int64
	f    *os.File    // its end is n, and closing it gives the lock back
	held fs.FileInfo // of f, as it was when it was locked
	sum  hash.Hash   // of the first n bytes
	n    int64
}

// there returns how many bytes the file had.
func (p *part) there() int64 { return p.held.Size() }

// Limits of patience with a server, for one Bring.
const (
	maxTries = 3       // for all of a content whose digest is wrong
	maxCuts  = 10      // of the body, without leap bytes between two of them
	leap     = 1 << 20 // bytes
)

// errWrong is returned for bytes that cannot be those that are asked for.
var errWrong = errors.New("wrong bytes")

// part locks and opens the part of a content. Its bytes are not hashed yet.
func (c *Content) part(ctx context.Context, d catalog.Digest, size int64) (*part, error) {
	sum, err := d.New()
	if err != nil {
		return nil, err
	}
	path := c.path(d, partSuffix)
	f, held, err := lockPart(ctx, path, true, lock.Options{Wait: -1})
	if err != nil {
		return nil, err
	}
	p := &part{c: c, d: d, size: size, f: f, held: held, sum: sum}
	if p.there() == 0 {
		c.give(path)
	}
	return p, nil
}

// lockPart locks the file of a part and opens it: see lock.Itself.
func lockPart(ctx context.Context, path string, make bool, opt lock.Options) (f *os.File, held fs.FileInfo,
	err error) {
	f, held, err = lock.Itself(ctx, path, make, opt)
	if errors.Is(err, fs.ErrPermission) && os.Chmod(path, 0o600) == nil { // a kill in Sync
		f, held, err = lock.Itself(ctx, path, make, opt)
	}
	return f, held, err
}

// reread hashes what the file has: after a power cut a file may have zeros where bytes were, so
// its length says nothing.
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
	if p.there() > 0 {
		if err := p.reread(ctx); err != nil {
			return err
		}
	}
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
	if n == 0 {
		return nil
	}
	buf := blocks.Get().(*[]byte)
	defer blocks.Put(buf)
	for n > 0 {
		m, err := body.Read((*buf)[:min(n, smallSize)])
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

// What is read and written at once, in bytes, for a content of which that much is missing:
// little of it in one block, more in a ring of three blocks. Of much the blocks are large, and
// are written past the page cache. To fill that takes more processor time than all else
// does, and several times as much on a virtual machine whose host has yet to find the memory.
const (
	smallSize  = 64 << 10
	blockSize  = 256 << 10
	largeSize  = 2 << 20 // a huge page, see durable.Block
	largeAbove = 8 << 20
)

// ring is all the memory that a content takes.
type ring [3][]byte

func newRing(size int) *ring {
	b := durable.Block(3 * size)
	return &ring{b[:size:size], b[size : 2*size : 2*size], b[2*size:]}
}

var (
	blocks = sync.Pool{New: func() any { b := make([]byte, smallSize); return &b }}
	rings  = sync.Pool{New: func() any { return newRing(blockSize) }}
	larges = sync.Pool{New: func() any { return newRing(largeSize) }}
	// direct has a place for each content that is written past the page cache now: many
	// large rings would be too much memory.
	direct = make(chan struct{}, 3)
)

// copy appends a body until the part is whole.
func (p *part) copy(ctx context.Context, body io.Reader) error {
	switch left := p.size - p.n; {
	case left <= smallSize:
		return p.inline(ctx, body, p.size)
	case left >= largeAbove:
		select {
		case direct <- struct{}{}:
			defer func() { <-direct }()
			return p.past(ctx, body)
		default:
		}
	}
	return p.abreast(ctx, body, p.f, &rings)
}

// past appends a body past the page cache, if the file system can do that.
func (p *part) past(ctx context.Context, body io.Reader) error {
	// A part that was cut may end anywhere, and direct writes begin at a whole page.
	if odd := p.n % durable.DirectAlign; odd != 0 {
		if err := p.inline(ctx, body, p.n-odd+durable.DirectAlign); err != nil {
			return err
		}
	}
	d, err := durable.NewDirect(p.f)
	if err != nil {
		return p.abreast(ctx, body, p.f, &rings)
	}
	return errors.Join(p.abreast(ctx, body, d, &larges), d.End())
}

// inline appends a body up to the byte end, which is less than a block away.
func (p *part) inline(ctx context.Context, body io.Reader, end int64) error {
	b := blocks.Get().(*[]byte)
	defer blocks.Put(b)
	for p.n < end {
		n, readErr := p.read(body, (*b)[:end-p.n])
		if _, err := p.f.Write((*b)[:n]); err != nil {
			return err // the next time, what was written is hashed again
		}
		p.sum.Write((*b)[:n])
		p.n += int64(n)
		if err := ended(ctx, readErr); err != nil && p.n < end {
			return err
		}
	}
	return nil
}

// abreast appends a body until the part is whole: while one block is read, the one before
// it is written to w, and the one before that is hashed.
func (p *part) abreast(ctx context.Context, body io.Reader, w io.Writer, pool *sync.Pool) error {
	three := pool.Get().(*ring)
	defer pool.Put(three)
	type block struct {
		b []byte
		n int
	}
	free, written, hashed := make(chan []byte, len(three)), make(chan block), make(chan block)
	for _, b := range three {
		free <- b
	}
	var failed atomic.Pointer[error] // of w
	var done sync.WaitGroup
	done.Go(func() {
		defer close(hashed)
		for b := range written {
			if failed.Load() == nil {
				if _, err := w.Write(b.b[:b.n]); err != nil {
					failed.Store(&err) // the next time, what was written is hashed again
				}
			}
			hashed <- b
		}
	})
	done.Go(func() {
		for b := range hashed {
			p.sum.Write(b.b[:b.n])
			free <- b.b
		}
	})
	var err error
	for p.n < p.size && err == nil && failed.Load() == nil {
		b := <-free
		n, readErr := p.read(body, b[:min(p.size-p.n, int64(len(b)))])
		written <- block{b, n}
		p.n += int64(n)
		if p.n < p.size {
			err = ended(ctx, readErr)
		}
	}
	close(written)
	done.Wait()
	if f := failed.Load(); f != nil {
		return *f
	}
	return err
}

// read fills buf, unless the reader ends or fails before: it says with what. It counts what
// comes at once: a slow server takes long to fill a block.
func (p *part) read(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
		p.c.count(int64(m))
	}
	return n, err
}
