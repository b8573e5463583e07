package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// lookFor is how long the store may take to say what production is.
const lookFor = 20 * time.Second

// Follower is what a server reads of a production in an object store. It writes nothing
// there, and nothing in the repository: its copies of documents and manifests are in a
// directory of its own, which Close removes.
//
// One goroutine calls Look, Open and Adopt. Everything else may be called at any time, as
// may the functions of Repo: they show production as of the last Adopt, and ask the store
// only for what is not at hand, such as lines of the history.
type Follower struct {
	repo *Repo
	dir  string

	unlock func()          // of dir; nil: it does not exist yet
	seen   *bucket.Pointer // by the last Look
}

// Live names a generation: its number, and the seal of its manifest. The zero Live is
// that nothing was promoted yet.
type Live struct {
	Generation int
	Seal       string
}

// Follow returns what a server follows; nil if production is on this machine.
func (r *Repo) Follow() *Follower {
	if r.shared == nil {
		return nil
	}
	f := &Follower{dir: filepath.Join(scratch(), scratchPrefix+bucket.NewNonce())}
	out := *r
	b := &shared{r: &out, follows: true}
	opt := r.shared.site.Options
	opt.Cache, opt.Keys, opt.Beside = filepath.Join(f.dir, "cache"), b.keys, b.besideKeys
	b.site = bucket.New(opt)
	out.shared, out.site, out.left = b, pointed{b}, leftoverRecord{}
	out.store = out.newStore()
	out.store.Trees, out.store.Manifests = filepath.Join(f.dir, "trees"), filepath.Join(f.dir, "manifests")
	out.store.Elsewhere = b
	st := *r.Stage
	st.Revoked, st.BeforeLock, st.Served, st.Elsewhere = out.revoked, out.mendLocks, out.served, b.elsewhere
	out.Stage = &st
	f.repo = &out
	return f
}

// Repo is the repository for the pages of a server.
func (f *Follower) Repo() *Repo { return f.repo }

// Look asks the store what production is.
func (f *Follower) Look(ctx context.Context) (Live, error) {
	b := f.repo.shared
	if err := f.furnish(); err != nil {
		return Live{}, err
	}
	p, err := f.read(ctx)
	if err != nil {
		return Live{}, b.explain(err)
	}
	f.seen = p
	if at := b.present(); at != nil && liveOf(at) == liveOf(p) {
		b.move(p) // the same tree, and perhaps a longer history
	}
	return liveOf(p), nil
}

// read reads the pointer, and the first time whose it is.
func (f *Follower) read(ctx context.Context) (p *bucket.Pointer, err error) {
	timed, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	if f.seen == nil {
		err = f.repo.shared.join(timed)
	}
	if err == nil {
		p, err = f.repo.shared.site.Read(timed)
	}
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		err = errLate
	}
	return p, err
}

func liveOf(p *bucket.Pointer) Live {
	if p.Manifest == nil {
		return Live{}
	}
	return Live{p.Generation, p.Manifest.Seal}
}

// Open opens the generation that Look has seen. The error wraps fs.ErrNotExist if nothing
// was promoted yet.
func (f *Follower) Open(ctx context.Context) (*generation.View, Live, error) {
	b := f.repo.shared
	if f.seen == nil || f.seen.Manifest == nil {
		return nil, Live{}, &Error{Kind: NotFound, Path: f.repo.Production(), Fact: "has no generation yet",
			Err: os.ErrNotExist}
	}
	v, err := b.view(ctx, *f.seen.Manifest)
	return v, liveOf(f.seen), err
}

// Adopt makes what Open has opened the present of Repo, and removes what no longer is
// needed of the copies.
func (f *Follower) Adopt() {
	b := f.repo.shared
	b.move(f.seen)
	b.tidy(f.dir, f.seen)
}

// OpenKept opens generation n, which is kept beside production. The error is of kind
// NotFound if it is not, and wraps generation.ErrAway if its documents cannot be fetched.
func (f *Follower) OpenKept(ctx context.Context, n int) (*generation.View, error) {
	b := f.repo.shared
	if p := b.present(); p != nil {
		if ref, ok := p.Ref(n); ok {
			v, err := b.view(ctx, ref)
			if err != nil {
				err = fmt.Errorf("generation %d: %w: %w", n, generation.ErrAway, err)
			}
			return v, err
		}
	}
	return nil, f.repo.notKept(n)
}

// Close removes the copies. Nothing else of the follower is called after it.
func (f *Follower) Close() {
	if f.unlock != nil {
		_ = durable.RemoveAll(f.dir)
		f.unlock()
		f.unlock = nil
	}
}

// furnish makes the directory of the copies, once. It removes those that killed servers
// left.
func (f *Follower) furnish() error {
	if f.unlock != nil {
		return nil
	}
	sweepScratch(filepath.Dir(f.dir))
	for _, dir := range []string{f.dir, f.repo.store.Trees, f.repo.store.Manifests} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &Error{Path: dir, Err: err, Hint: "a server needs a directory for copies of documents: set TMPDIR"}
		}
	}
	path := filepath.Join(f.dir, "lock")
	if err := durable.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	unlock, err := lock.Acquire(context.Background(), path, lock.Options{Verb: "serve", Now: time.Now()})
	f.unlock = unlock
	return err
}

const scratchPrefix = "publish-serve-"

// scratch is where servers put their copies: the runtime directory that systemd gives to a
// service, or that for temporary files.
func scratch() string {
	if dir := os.Getenv("RUNTIME_DIRECTORY"); filepath.IsAbs(dir) && !strings.Contains(dir, ":") {
		return dir
	}
	return os.TempDir()
}

// sweepScratch removes the copies of servers that were killed. One that is about to begin
// has no lock yet, so what is young stays.
func sweepScratch(in string) {
	list, _ := os.ReadDir(in)
	for _, d := range list {
		path := filepath.Join(in, d.Name())
		if !d.IsDir() || !strings.HasPrefix(d.Name(), scratchPrefix) {
			continue
		}
		fi, err := d.Info()
		if err != nil || int(tree.StatOf(fi).UID) != os.Geteuid() || time.Since(fi.ModTime()) < time.Hour {
			continue
		}
		if _, state := lock.Look(filepath.Join(path, "lock")); state == lock.Free {
			_ = durable.RemoveAll(path)
		}
	}
}

// present is the pointer that was read last, or that a follower has adopted; nil for none.
func (b *shared) present() *bucket.Pointer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at
}

// view opens a generation, with copies of its documents.
func (b *shared) view(ctx context.Context, ref bucket.Ref) (*generation.View, error) {
	m, err := b.manifest(ctx, ref)
	if err == nil {
		err = b.r.store.Furnish(ctx, m)
	}
	if err != nil {
		return nil, b.explain(err)
	}
	t := &generation.Tree{Manifest: m, Dir: b.r.store.Dir(m.Generation), Sparse: true, Elsewhere: b}
	v, err := t.View()
	if err != nil {
		return nil, err
	}
	v.Here = func() error {
		if p := b.present(); p != nil {
			if now, ok := p.Ref(ref.Generation); (!ok || now.Seal != ref.Seal) && p.Generation > ref.Generation {
				return fmt.Errorf("generation %d: %w", ref.Generation, generation.ErrMoved)
			}
		}
		return nil
	}
	return v, nil
}

// manifest is that of a reference. A follower has copies of those that it has opened.
func (b *shared) manifest(ctx context.Context, ref bucket.Ref) (*generation.Manifest, error) {
	path := b.r.store.ManifestPath(ref.Generation)
	if b.follows && !gone(path) {
		if m, err := b.r.store.Manifest(ref.Generation); err == nil && m.Seal == ref.Seal {
			return m, nil
		}
		_ = os.Remove(path) // it is damaged, or of a pointer that was made anew
	}
	return b.site.Manifest(ctx, ref)
}

// errNotYet says that a follower has adopted nothing.
var errNotYet = errors.New("it is not known yet what production is")
