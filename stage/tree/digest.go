package tree

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/sha256x2"
)

// Sum is a running hash.
type Sum = hash.Hash

// NewSHA256 starts a sha256.
func NewSHA256() Sum { return sha256.New() }

// blockSize is the number of bytes that are read at once. It is so large that
// system calls and the hand-over between goroutines cost little compared with hashing.
//
// After largeAfter bytes, Spread reads largeSize bytes at once: the latency of direct
// writes then costs little, and so does their processor time, see durable.Block. A small
// file needs no such memory. For one writer it needs no more than smallSize: new memory
// takes more processor time than to copy a small file.
const (
	smallSize  = 64 << 10
	blockSize  = 1 << 20
	largeSize  = 4 << 20
	largeAfter = 8 << 20
)

var (
	smalls = sync.Pool{New: func() any { b := durable.Block(smallSize); return &b }}
	blocks = sync.Pool{New: func() any { b := durable.Block(blockSize); return &b }}
	larges = sync.Pool{New: func() any { b := durable.Block(largeSize); return &b }}
)

// queued is the number of blocks that may wait for each writer of Spread. With those that
// are being read and written, so many of largeSize need 16 MiB.
const queued = 2

// Digest reads r to its end and writes the bytes to every sum. If there are
// several, each runs in its own goroutine. It returns the number of bytes.
func Digest(ctx context.Context, r io.Reader, sums ...Sum) (int64, error) {
	to := make([]io.Writer, len(sums))
	for i, s := range sums {
		to[i] = s
	}
	return Spread(ctx, r, to...)
}

// Spread reads r to its end and writes every block to each of the writers, which
// run in parallel, but two sums of sha256 as one: see package sha256x2. The address of
// each block, and the size of each except the last, are aligned as durable.Direct needs.
// It returns the number of bytes.
func Spread(ctx context.Context, r io.Reader, to ...io.Writer) (int64, error) {
	if to = inTwos(to); len(to) <= 1 {
		return spreadOne(ctx, r, to)
	}
	type block struct {
		buf  *[]byte
		of   *sync.Pool // that buf returns to
		n    int
		left *atomic.Int32 // number of writers that have not finished with it
	}
	feeds := make([]chan block, len(to))
	var failed atomic.Pointer[error]
	var done sync.WaitGroup
	for i, w := range to {
		feeds[i] = make(chan block, queued)
		done.Go(func() {
			for b := range feeds[i] {
				if failed.Load() == nil {
					if _, err := w.Write((*b.buf)[:b.n]); err != nil {
						failed.CompareAndSwap(nil, &err)
					}
				}
				if b.left.Add(-1) == 0 {
					b.of.Put(b.buf)
				}
			}
		})
	}
	finish := func(err error) error {
		for _, f := range feeds {
			close(f)
		}
		done.Wait()
		if f := failed.Load(); f != nil {
			return *f
		}
		return err
	}
	var total int64
	for {
		if err := ctx.Err(); err != nil || failed.Load() != nil {
			return total, finish(err)
		}
		of := &blocks
		if total >= largeAfter {
			of = &larges
		}
		buf := of.Get().(*[]byte)
		n, err := fill(r, *buf)
		if n > 0 {
			total += int64(n)
			left := new(atomic.Int32)
			left.Store(int32(len(to)))
			for _, f := range feeds {
				f <- block{buf, of, n, left}
			}
		} else {
			of.Put(buf)
		}
		switch err {
		case nil:
		case io.EOF:
			return total, finish(nil)
		default:
			return total, finish(err)
		}
	}
}

// twoSums are two sums of the same bytes.
type twoSums struct{ a, b Sum }

// Write implements io.Writer.
func (t twoSums) Write(p []byte) (int, error) {
	sha256x2.Write(t.a, t.b, p, p)
	return len(p), nil
}

// inTwos is to, with one writer in place of each two sums of sha256.
func inTwos(to []io.Writer) []io.Writer {
	if !sha256x2.Enabled || len(to) < 2 {
		return to
	}
	var all []io.Writer
	var waiting Sum
	for _, w := range to {
		s, ok := w.(Sum)
		switch {
		case !ok || s.Size() != sha256.Size || s.BlockSize() != sha256.BlockSize:
			all = append(all, w)
		case waiting == nil:
			waiting = s
		default:
			all, waiting = append(all, twoSums{waiting, s}), nil
		}
	}
	if waiting != nil {
		all = append(all, waiting)
	}
	return all
}

// fill is like io.ReadFull, but returns the error of r unchanged. io.ReadFull
// returns io.ErrUnexpectedEOF for a short last block, which could then not be told
// from a truncated stream.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

func spreadOne(ctx context.Context, r io.Reader, to []io.Writer) (int64, error) {
	of := &smalls
	buf := of.Get().(*[]byte)
	defer func() { of.Put(buf) }()
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		if of == &smalls && total >= smallSize {
			of.Put(buf)
			of = &blocks
			buf = of.Get().(*[]byte)
		}
		n, err := r.Read(*buf)
		total += int64(n)
		for _, w := range to {
			if _, err := w.Write((*buf)[:n]); err != nil {
				return total, err
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
