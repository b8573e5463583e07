package stage

import (
	"context"
	"errors"
	"hash"
	"io"
	"os"

	"example.com/publish/stage/sha256x2"
	"example.com/publish/stage/tree"
)

// lane is one of the files that a worker reads at a time. It reads two, because their sums
// then share its core: see package sha256x2.
type lane struct {
	n    *need // what is read; nil for nothing
	sum  tree.Sum
	left []byte    // what was read and is not in sum yet
	buf  []byte    // that left is of, for files that are not small
	body io.Reader // of what was not read yet; nil for nothing
	f    *os.File  // that body is of
	size int64     // what was read
	want int64     // the size of the file
	same func() error
	err  error
}

// laneSize is the number of bytes that a lane reads at once: those of both lanes should
// still be near the core when they are hashed.
const laneSize = 256 << 10

// work reads files until take has no more.
func (r *reader) work(ctx context.Context, take func() []*need) error {
	in := tree.NewOpener(r.root)
	defer in.Close()
	var lanes [2]lane
	used := lanes[:1]
	if sha256x2.Enabled {
		used = lanes[:]
	}
	defer func() {
		for i := range used {
			used[i].close()
		}
	}()
	var some []*need
	next := func() *need {
		if len(some) == 0 {
			if some = take(); len(some) == 0 {
				return nil
			}
		}
		n := some[0]
		some = some[1:]
		return n
	}
	for {
		for i := range used {
			if err := r.ready(ctx, in, &used[i], next); err != nil {
				return err
			}
		}
		a, b := &lanes[0], &lanes[1]
		switch n := min(len(a.left), len(b.left)); {
		case n > 0:
			sha256x2.Write(a.sum, b.sum, a.left[:n], b.left[:n])
			a.left, b.left = a.left[n:], b.left[n:]
		case len(a.left)+len(b.left) == 0:
			return nil
		default:
			a.alone()
			b.alone()
		}
	}
}

// ready brings bytes to a lane that has none left, of its file or of the next one. It has
// none afterwards if there is no next file.
func (r *reader) ready(ctx context.Context, in *tree.Opener, l *lane, next func() *need) error {
	for len(l.left) == 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case l.n == nil:
			n := next()
			if n == nil {
				return nil
			}
			if !r.begin(in, l, n) {
				got, state, bytes := r.one(ctx, in, n)
				if err := ctx.Err(); err != nil {
					return err
				}
				n.got = got
				r.done(n, state, bytes)
			}
		case l.body == nil:
			r.end(l)
		default:
			l.read(r.progress)
		}
	}
	return nil
}

// begin makes a file that of a lane; false for one that needs more than its sha256.
func (r *reader) begin(in *tree.Opener, l *lane, n *need) bool {
	odd := n.oddly()
	if odd.elsewhere != nil || odd.of != nil || odd.md5 || odd.long || len(odd.after) > 0 {
		return false
	}
	if l.sum == nil {
		l.sum = tree.NewSHA256()
	}
	l.sum.Reset()
	l.n, l.size, l.body, l.f, l.err = n, 0, nil, nil, nil
	if r.small(in, l) {
		return true
	}
	f, st, err := r.open(in, n)
	if l.err = err; err != nil {
		return true
	}
	if l.buf == nil {
		l.buf = make([]byte, laneSize)
	}
	// The limit ends the reading of a file that grows.
	l.f, l.body, l.want = f, io.LimitReader(tree.Content(f, st), st.Size+1), st.Size
	l.same = unchanged(f, n, st)
	return true
}

// small reads a usual file that is small and has not changed; false for all others.
func (r *reader) small(in *tree.Opener, l *lane) bool {
	const few = 64 << 10
	n := l.n
	if n.odd != nil || n.stat.Ino == 0 || n.stat.Size > few || n.stat.Sparse {
		return false
	}
	data, before, after, err := in.ReadSmall(n.path, n.stat.Size)
	if err != nil || !before.Same(n.stat, true) || !after.Same(n.stat, true) || int64(len(data)) != n.stat.Size {
		return false
	}
	r.progress(int64(len(data)))
	l.left, l.size, l.want = data, n.stat.Size, n.stat.Size
	l.same = func() error { return nil }
	return true
}

// read reads the next bytes of the file.
func (l *lane) read(progress func(int64)) {
	n, err := l.body.Read(l.buf)
	progress(int64(n))
	l.left, l.size = l.buf[:n], l.size+int64(n)
	if err != nil {
		l.body = nil
		if !errors.Is(err, io.EOF) {
			l.err = err
		}
	}
}

// alone adds what is left to the sum, while the other lane has nothing.
func (l *lane) alone() {
	if len(l.left) > 0 {
		_, _ = l.sum.Write(l.left) // a hash returns no error
		l.left = nil
	}
}

// end notes the sum of a file of which all is in it, or why there is none.
func (r *reader) end(l *lane) {
	n := l.n
	if l.err == nil {
		if l.err = l.same(); l.err == nil && l.size != l.want {
			l.err = &os.PathError{Op: "read", Path: n.path, Err: tree.ErrChanged}
		}
	}
	var state hash.Cloner
	if n.got = failed(l.err); l.err == nil {
		n.got = sums{sha256: inHex(l.sum, n.like)}
		if r.firsts[n.path] {
			state, l.sum = l.sum.(hash.Cloner), nil
		}
	}
	l.close()
	l.n, l.f = nil, nil
	r.done(n, state, l.size)
}

func (l *lane) close() {
	if l.f != nil {
		_ = l.f.Close() // nothing was written to it
	}
}

// done counts a file that was read, and keeps the state of its sum if it is the first of a pair.
func (r *reader) done(n *need, state hash.Cloner, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes += bytes; state != nil {
		r.states[n.path] = state
	}
}
