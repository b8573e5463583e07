package tree

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"sync"
	"sync/atomic"
)

// Sum is a running hash.
type Sum = hash.Hash

// NewSHA256 starts a sha256.
func NewSHA256() Sum { return sha256.New() }

// blockSize is what is read at once: large enough that a system call and the
// hand-over between goroutines do not show beside hashing, small enough for
// the second-level cache.
const blockSize = 256 << 10

var blocks = sync.Pool{New: func() any { b := make([]byte, blockSize); return &b }}

// Digest reads r once to its end and feeds every sum, each on a core of its
// own when there is more than one. It returns the number of bytes.
func Digest(ctx context.Context, r io.Reader, sums ...Sum) (int64, error) {
	if len(sums) <= 1 {
		return digestOne(ctx, r, sums)
	}
	type block struct {
		buf  *[]byte
		n    int
		left *atomic.Int32 // sums that have not read it yet
	}
	feeds := make([]chan block, len(sums))
	var done sync.WaitGroup
	for i, s := range sums {
		feeds[i] = make(chan block, 4)
		done.Go(func() {
			for b := range feeds[i] {
				s.Write((*b.buf)[:b.n])
				if b.left.Add(-1) == 0 {
					blocks.Put(b.buf)
				}
			}
		})
	}
	finish := func() {
		for _, f := range feeds {
			close(f)
		}
		done.Wait()
	}
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			finish()
			return total, err
		}
		buf := blocks.Get().(*[]byte)
		n, err := io.ReadFull(r, *buf)
		if n > 0 {
			total += int64(n)
			left := new(atomic.Int32)
			left.Store(int32(len(sums)))
			for _, f := range feeds {
				f <- block{buf, n, left}
			}
		} else {
			blocks.Put(buf)
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			finish()
			return total, nil
		default:
			finish()
			return total, err
		}
	}
}

func digestOne(ctx context.Context, r io.Reader, sums []Sum) (int64, error) {
	buf := blocks.Get().(*[]byte)
	defer blocks.Put(buf)
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := r.Read(*buf)
		total += int64(n)
		for _, s := range sums {
			s.Write((*buf)[:n])
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
