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

// need is a file that validation has to read, and then what that found.
type need struct {
	path string
	stat tree.Stat // its state when it was walked; the zero Stat for immutable files
	like string    // the sha256 that it probably has: see tree.Cache.LookupLike
	odd  *odd      // nil for nothing of it: there may be a need for each file of a large tree
	got  sums
}

// odd is what few files need.
type odd struct {
	name  string   // the real path of the file, if path leads there through a link; else ""
	after []string // the first files of the pairs in which this file is the second
	// of is the format of a document of which the own form is hashed; else nil
	of        catalog.Server
	md5, long bool // sha512 is long
	// elsewhere opens a file that is not in the tree, and says how long it is; else nil
	elsewhere func(context.Context) (io.ReadCloser, int64, error)
}

// oddly is what few files need, of this one.
func (n *need) oddly() odd {
	if n.odd == nil {
		return odd{}
	}
	return *n.odd
}

// with changes what few files need.
func (n *need) with(change func(*odd)) *need {
	var o odd
	if n.odd != nil {
		o = *n.odd
	}
	change(&o)
	n.odd = &o
	return n
}

// needAt is a need for a file that path leads to, through a link if name is not "".
func needAt(path, name string, st tree.Stat) *need {
	n := &need{path: path, stat: st}
	if name != "" {
		n.odd = &odd{name: name}
	}
	return n
}

// sums is the result of reading one file.
type sums struct {
	sha256 string
	more   *moreSums
}

// moreSums are those of few files.
type moreSums struct {
	err         error
	own         bool  // the sha256 is that of the own form of a document
	size        int64 // of that form
	md5, sha512 string
	pairs       []pairSum
}

// failed is the result for a file that could not be read.
func failed(err error) sums { return sums{more: &moreSums{err: err}} }

func (s sums) err() error {
	if s.more == nil {
		return nil
	}
	return s.more.err
}

// pairSum is the sha256 over the first file of a pair followed by this file.
type pairSum struct{ first, both string }

// readAll reads every needed file once, on all cores. It reads the first files of
// pairs before the others, and keeps the state of their hashes. The bytes of a
// second file then go both to its own hash and to that of the pair. An error of
// one file is in its sums. It returns the needs, those that it added for first files,
// and the number of bytes.
func readAll(ctx context.Context, root *os.Root, needs []*need, progress func(int64)) ([]*need, int64, error) {
	firsts := map[string]bool{}
	for _, n := range needs {
		for _, f := range n.oddly().after {
			firsts[f] = true
		}
	}
	early, late := needs, []*need(nil)
	if len(firsts) > 0 {
		early = nil
		planned := map[string]bool{}
		for _, n := range needs {
			switch {
			case len(n.oddly().after) == 0:
				early = append(early, n)
			case firsts[n.path]:
				// A file that is second in one pair and first in another is read
				// twice. That is correct, and no real tree has such a file.
				early = append(early, needAt(n.path, n.oddly().name, n.stat))
			}
			if len(n.oddly().after) > 0 {
				late = append(late, n)
			}
			planned[n.path] = true
		}
		for f := range firsts {
			if !planned[f] {
				n := &need{path: f}
				early, needs = append(early, n), append(needs, n)
			}
		}
	}
	r := &reader{root: root, progress: progress, states: map[string]hash.Cloner{}, firsts: firsts}
	if err := r.run(ctx, early); err != nil {
		return nil, r.bytes, err
	}
	err := r.run(ctx, late)
	return needs, r.bytes, err
}

type reader struct {
	root     *os.Root
	progress func(int64)
	firsts   map[string]bool

	mu     sync.Mutex
	states map[string]hash.Cloner
	bytes  int64
}

// run reads files, on each core those of a run of paths: most are in one directory.
func (r *reader) run(ctx context.Context, needs []*need) error {
	const few = 32 // files that a worker takes at once
	g, ctx := errgroup.WithContext(ctx)
	// A worker takes some of the files that are left: few towards the end, so that no core is idle.
	next := 0
	take := func() []*need {
		r.mu.Lock()
		defer r.mu.Unlock()
		left := len(needs) - next
		from := next
		next += min(left, max(1, min(few, left/(4*runtime.GOMAXPROCS(0)))))
		return needs[from:next]
	}
	for range min(runtime.GOMAXPROCS(0), len(needs)) {
		g.Go(func() error { return r.work(ctx, take) })
	}
	return g.Wait()
}

// one reads a file that needs more than its sha256, or that lies elsewhere, or that is a
// document. The others are read two at a time, see work.
func (r *reader) one(ctx context.Context, in *tree.Opener, n *need) (sums, hash.Cloner, int64) {
	odd := n.oddly()
	if odd.elsewhere != nil {
		f, size, err := odd.elsewhere(ctx)
		if err != nil {
			return failed(err), nil, 0
		}
		defer f.Close()
		return r.sum(ctx, n, f, size, func() error { return nil })
	}
	f, st, err := r.open(in, n)
	if err != nil {
		return failed(err), nil, 0
	}
	defer f.Close()
	if odd.of != nil {
		return r.document(f, st, odd.of)
	}
	return r.sum(ctx, n, tree.Content(f, st), st.Size, unchanged(f, n, st))
}

// open opens the file of a need, unless it has changed since it was walked.
func (r *reader) open(in *tree.Opener, n *need) (*os.File, tree.Stat, error) {
	f, st, err := in.Open(cmp.Or(n.oddly().name, n.path))
	if err == nil && n.stat.Ino != 0 && !st.Same(n.stat, true) {
		_ = f.Close() // nothing was written to it
		err = &os.PathError{Op: "read", Path: n.path, Err: tree.ErrChanged}
	}
	return f, st, err
}

// unchanged returns an error if a file of this state has changed since it was opened.
func unchanged(f *os.File, n *need, st tree.Stat) func() error {
	return func() error {
		fi, err := f.Stat()
		if err == nil && !tree.StatOf(fi).Same(st, true) {
			err = &os.PathError{Op: "read", Path: n.path, Err: tree.ErrChanged}
		}
		return err
	}
}

// sum reads a file of this size. same returns an error if it has changed meanwhile.
func (r *reader) sum(
	ctx context.Context, n *need, f io.Reader, length int64, same func() error,
) (sums, hash.Cloner, int64) {
	odd := n.oddly()
	own := sha256.New()
	all := []tree.Sum{own}
	var m hash.Hash
	if odd.md5 {
		m = md5.New()
		all = append(all, m)
	}
	var l hash.Hash
	if odd.long {
		l = sha512.New()
		all = append(all, l)
	}
	var pairs []tree.Sum
	var firsts []string
	for _, first := range odd.after {
		r.mu.Lock()
		state := r.states[first]
		r.mu.Unlock()
		if state == nil {
			continue // the first file could not be read; its own sums have the error
		}
		c, err := state.Clone()
		if err != nil {
			return failed(err), nil, 0
		}
		pairs, firsts = append(pairs, c), append(firsts, first)
		all = append(all, c)
	}
	// The limit ends the reading of a file that grows.
	size, err := tree.Digest(ctx, io.LimitReader(countingReader{f, r.progress}, length+1), all...)
	if err != nil {
		return failed(err), nil, size
	}
	if err = same(); err == nil && size != length {
		err = &os.PathError{Op: "read", Path: n.path, Err: tree.ErrChanged}
	}
	s := sums{sha256: inHex(own, n.like)}
	if err != nil || m != nil || l != nil || len(pairs) > 0 {
		s.more = &moreSums{err: err}
	}
	if m != nil {
		s.more.md5 = inHex(m, "")
	}
	if l != nil {
		s.more.sha512 = inHex(l, "")
	}
	for i, p := range pairs {
		s.more.pairs = append(s.more.pairs, pairSum{firsts[i], inHex(p, "")})
	}
	if !r.firsts[n.path] {
		return s, nil, size
	}
	return s, own.(hash.Cloner), size
}

// inHex is the sum of h in hex; the string like itself if that is equal.
func inHex(h hash.Hash, like string) string {
	var sum [sha512.Size]byte
	return asHex(h.Sum(sum[:0]), like)
}

func asHex(sum []byte, like string) string {
	var text [2 * sha512.Size]byte
	if b := hex.AppendEncode(text[:0], sum); string(b) != like {
		return string(b)
	}
	return like
}

// document is read for a document that has two forms.
func (r *reader) document(f *os.File, st tree.Stat, of catalog.Server) (sums, hash.Cloner, int64) {
	s, read, err := hashOwn(of, tree.Content(f, st), st.Size, r.progress)
	if err == nil {
		var fi os.FileInfo
		if fi, err = f.Stat(); err == nil && (read != st.Size || !tree.StatOf(fi).Same(st, true)) {
			err = &os.PathError{Op: "read", Path: f.Name(), Err: tree.ErrChanged}
		}
	}
	if err != nil {
		s = failed(err)
	}
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
