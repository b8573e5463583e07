package stage

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// need is a file that validation has to read.
type need struct {
	path  string
	name  string    // the real path of the file, if path leads there through a link; else ""
	stat  tree.Stat // its state when it was walked; the zero Stat for immutable files
	md5   bool
	long  bool     // sha512 as well
	after []string // the first files of the pairs in which this file is the second
	// of is the format of a document of which the own form is hashed; else nil
	of catalog.Server
}

// sums is the result of reading one file.
type sums struct {
	sha256, md5 string
	sha512      string
	pairs       []pairSum
	err         error
	own         bool  // the sha256 is that of the own form of a document
	size        int64 // of that form
}

// pairSum is the sha256 over the first file of a pair followed by this file.
type pairSum struct{ first, both string }

// readAll reads every needed file once, on all cores. It reads the first files of
// pairs before the others, and keeps the state of their hashes. The bytes of a
// second file then go both to its own hash and to that of the pair. An error of
// one file is in its sums. The second result is the number of bytes.
func readAll(ctx context.Context, root *os.Root, needs []*need, progress func(int64)) (map[string]sums, int64, error) {
	firsts := map[string]bool{}
	for _, n := range needs {
		for _, f := range n.after {
			firsts[f] = true
		}
	}
	var early, late []*need
	planned := map[string]bool{}
	for _, n := range needs {
		if len(n.after) == 0 || firsts[n.path] {
			// A file that is second in one pair and first in another is read
			// twice. That is correct, and no real tree has such a file.
			planned[n.path] = true
			early = append(early, &need{path: n.path, name: n.name, stat: n.stat, md5: n.md5, long: n.long, of: n.of})
		}
		if len(n.after) > 0 {
			late = append(late, n)
		}
	}
	for f := range firsts {
		if !planned[f] {
			early = append(early, &need{path: f})
		}
	}
	r := &reader{root: root, progress: progress, out: map[string]sums{}, states: map[string]hash.Cloner{},
		firsts: firsts}
	if err := r.run(ctx, early); err != nil {
		return nil, r.bytes, err
	}
	err := r.run(ctx, late)
	return r.out, r.bytes, err
}

type reader struct {
	root     *os.Root
	progress func(int64)
	firsts   map[string]bool

	mu     sync.Mutex
	out    map[string]sums
	states map[string]hash.Cloner
	bytes  int64
}

func (r *reader) run(ctx context.Context, needs []*need) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, n := range needs {
		g.Go(func() error {
			s, state, size := r.one(ctx, n)
			if err := ctx.Err(); err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.out[n.path] = s
			r.bytes += size
			if state != nil {
				r.states[n.path] = state
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *reader) one(ctx context.Context, n *need) (sums, hash.Cloner, int64) {
	f, st, err := tree.Open(r.root, cmp.Or(n.name, n.path))
	if err != nil {
		return sums{err: err}, nil, 0
	}
	defer f.Close()
	if n.stat.Ino != 0 && !st.Same(n.stat, true) {
		return sums{err: &os.PathError{Op: "read", Path: n.path, Err: tree.ErrChanged}}, nil, 0
	}
	if n.of != nil {
		return r.document(f, st, n.of)
	}
	own := sha256.New()
	all := []tree.Sum{own}
	var m hash.Hash
	if n.md5 {
		m = md5.New()
		all = append(all, m)
	}
	var l hash.Hash
	if n.long {
		l = sha512.New()
		all = append(all, l)
	}
	var pairs []tree.Sum
	var firsts []string
	for _, first := range n.after {
		r.mu.Lock()
		state := r.states[first]
		r.mu.Unlock()
		if state == nil {
			continue // the first file could not be read; its own sums have the error
		}
		c, err := state.Clone()
		if err != nil {
			return sums{err: err}, nil, 0
		}
		pairs, firsts = append(pairs, c), append(firsts, first)
		all = append(all, c)
	}
	// The limit ends the reading of a file that grows.
	size, err := tree.Digest(ctx, io.LimitReader(countingReader{tree.Content(f, st), r.progress}, st.Size+1), all...)
	if err != nil {
		return sums{err: err}, nil, size
	}
	fi, err := f.Stat()
	if err == nil && (size != st.Size || !tree.StatOf(fi).Same(st, true)) {
		err = &os.PathError{Op: "read", Path: n.path, Err: tree.ErrChanged}
	}
	s := sums{err: err, sha256: hex.EncodeToString(own.Sum(nil))}
	if m != nil {
		s.md5 = hex.EncodeToString(m.Sum(nil))
	}
	if l != nil {
		s.sha512 = hex.EncodeToString(l.Sum(nil))
	}
	for i, p := range pairs {
		s.pairs = append(s.pairs, pairSum{firsts[i], hex.EncodeToString(p.Sum(nil))})
	}
	if !r.firsts[n.path] {
		return s, nil, size
	}
	return s, own.(hash.Cloner), size
}

// document is one for a document that has two forms.
func (r *reader) document(f *os.File, st tree.Stat, of catalog.Server) (sums, hash.Cloner, int64) {
	s, read, err := hashOwn(of, tree.Content(f, st), st.Size, r.progress)
	if err == nil {
		var fi os.FileInfo
		if fi, err = f.Stat(); err == nil && (read != st.Size || !tree.StatOf(fi).Same(st, true)) {
			err = &os.PathError{Op: "read", Path: f.Name(), Err: tree.ErrChanged}
		}
	}
	s.err = err
	return s, nil, read
}

type countingReader struct {
	r    io.Reader
	done func(int64)
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done(int64(n))
	return n, err
}
