package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/site"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// shared is a production to which many machines promote: an object store has it, see
// package bucket. The records of such a repository are there too. What its directory has
// of them are copies, made when they are needed; it has staging, and its configuration.
//
// The pointer of the bucket is read at the beginning of each command, and the state is
// made from it: production, the kept generations, the history. A change is a commit on
// top of that pointer. Where another machine was first the command begins again: promote
// rebases staging (see rebase), others look at the new state.
type shared struct {
	r    *Repo
	site *bucket.Site
	mu   sync.Mutex      // of the fields below, of which several goroutines of a follower read
	at   *bucket.Pointer // as read last, or as this process made it
	when time.Time       // of that, by this machine's clock
	// follows says that this is what a Follower has: it asks the store for no pointer.
	follows bool
	last    laid // see placed
}

// freshFor is how long what was read of the bucket counts as the present for commands that
// only show something.
const freshFor = time.Second

// openShared opens production in an object store.
func (r *Repo) openShared(store func(string, *Config) (bucket.Store, error)) error {
	if store == nil {
		return &Error{Kind: Usage, Path: filepath.Join(r.Dir, ConfigName), Fact: "production: " + r.Config.Production +
			" is in an object store, and this program has none"}
	}
	c := &r.Config.S3
	opened, err := store(r.Dir, r.Config)
	if err != nil {
		return err
	}
	b := &shared{r: r}
	var own func([]byte) []byte
	if server := catalog.Serving(r.format); server != nil {
		own = server.Own
	}
	b.site = bucket.New(bucket.Options{Store: opened, Who: r.who(), Content: c.Cache.Content, Mutable: c.Cache.Mutable,
		Keys: b.keys, Beside: b.besideKeys, Own: own, Cache: r.path(".publish", "bucket"), Workers: c.Concurrency,
		Step: r.at, Warn: r.opt.Warn, Progress: r.opt.Progress, Now: func() time.Time { return r.now() }, Sleep: r.opt.sleep})
	r.shared, r.store.Elsewhere, r.site = b, b, pointed{b}
	r.Stage.Elsewhere = b.elsewhere
	return nil
}

// elsewhere is what counts as present in staging: the generation that it was made from.
func (b *shared) elsewhere() (*stage.Elsewhere, error) {
	n, err := b.base()
	if err != nil || n == 0 {
		return nil, err
	}
	m, err := b.r.store.Manifest(n)
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		return nil, nil // promote says what to do
	}
	if err != nil {
		return nil, err
	}
	return &stage.Elsewhere{Rows: tree.Unsigned(m.Own), Open: b.open}, nil
}

// side is a generation, as a union of staging needs it.
func (b *shared) side(m *generation.Manifest) *stage.Side {
	return &stage.Side{Rows: tree.Unsigned(m.Own), Open: b.open}
}

// open reads a file of production, or of a kept generation: a document in its own form.
func (b *shared) open(ctx context.Context, row tree.Row) (io.ReadCloser, error) {
	if !b.Away(row) {
		data, err := b.Document(ctx, row)
		if server := catalog.ServingAt(b.r.format, row.Path); server != nil {
			data = server.Own(data)
		}
		return io.NopCloser(bytes.NewReader(data)), err
	}
	o, err := b.site.Open(ctx, b.key(row), bucket.Get{})
	if err != nil {
		return nil, b.explain(err)
	}
	return o.Body, nil
}

// pointer reads the pointer, unless that was done less than age ago.
func (b *shared) pointer(ctx context.Context, age time.Duration) (*bucket.Pointer, error) {
	b.mu.Lock()
	at, fresh := b.at, time.Since(b.when) < age
	b.mu.Unlock()
	switch {
	case at != nil && (fresh || b.follows):
		return at, nil
	case b.follows:
		return nil, &Error{Path: b.r.Production(), Err: errNotYet}
	}
	if err := b.join(ctx); err != nil {
		return nil, err
	}
	if p := b.site.Known(); at == nil && p != nil { // Join has read it
		b.move(p)
		return p, nil
	}
	p, err := b.site.Read(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	b.move(p)
	return p, nil
}

// move makes p the present.
func (b *shared) move(p *bucket.Pointer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at, b.when = p, time.Now()
}

// join compares the production that is there with the configuration, once.
func (b *shared) join(ctx context.Context) error {
	if b.present() != nil {
		return nil
	}
	birth, err := b.site.Join(ctx)
	if errors.Is(err, bucket.ErrNotFound) {
		return &Error{Path: b.r.Production(), Err: ErrNoProduction,
			Hint: "publish init --production " + b.r.Production() + " DIR makes it; look at s3.endpoint, too"}
	}
	if err != nil {
		return b.explain(err)
	}
	return b.fits(birth)
}

// ErrNoProduction says that nobody has made a production at a place in an object store.
var ErrNoProduction = errors.New("has no production of publish")

// fits returns an error if production was made for another configuration, or for another
// repository than before.
func (b *shared) fits(birth *bucket.Birth) error {
	c := b.r.Config
	for _, kv := range [][3]string{{"format", birth.Format, c.Format}, {"s3.readers", birth.Readers,
		string(c.S3.Readers)}} {
		if kv[1] != kv[2] {
			return &Error{Kind: Usage, Path: b.r.Production(), Fact: fmt.Sprintf("was made with %s: %s, and publish.yaml "+
				"says %s", kv[0], kv[1], kv[2]), Hint: "change publish.yaml, or give another prefix"}
		}
	}
	if birth.Layout != b.layout() {
		return &Error{Kind: Usage, Path: b.r.Production(), Fact: fmt.Sprintf("was made by another version of publish: "+
			"its objects have other names (%q) than clients of format %s need (%q)", birth.Layout, c.Format, b.layout()),
			Hint: "make production anew, under another prefix"}
	}
	id, err := b.r.store.ID()
	if err == nil && id != "" && id != birth.Repository {
		err = &Error{Kind: Refused, Path: b.r.Production(), Fact: "belongs to another repository than this one",
			Err: generation.ErrForeign, Hint: "join it from an empty directory: publish init --production " +
				b.r.Production() + " DIR"}
	}
	return err
}

// explain gives errors of the bucket their kind and their hint.
func (b *shared) explain(err error) error {
	refusal, condemned, e := new(bucket.Refusal), new(bucket.CondemnedError), new(Error)
	dial, at := new(net.OpError), b.r.Production()
	if err != nil && strings.Contains(err.Error(), at+"/") {
		err, at = objectError{err, at + "/"}, ""
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		if e.Path == "" || filepath.IsAbs(e.Path) || strings.HasPrefix(e.Path, schemeS3) {
			return err
		}
		named := *e // by a key
		named.Path = b.r.Production() + "/" + e.Path
		return &named
	case errors.Is(err, bucket.ErrOutcome):
		return b.unknown("the outcome of the last commit", err)
	case errors.As(err, &refusal):
		return &Error{Path: at, Err: err, Hint: refusal.Hint}
	case errors.As(err, &condemned):
		return &Error{Kind: Locked, Path: condemned.Key, Fact: "a gc is deleting this object, and the new tree needs it",
			Hint: "promote again after " + condemned.Until.UTC().Format(time.RFC3339)}
	case errors.Is(err, bucket.ErrDamaged), errors.Is(err, bucket.ErrLost):
		return &Error{Path: at, Err: err, Hint: "publish recover --force writes the pointer anew from the " +
			"newest manifest"}
	case errors.Is(err, bucket.ErrForeign):
		return &Error{Kind: Refused, Path: at, Err: err,
			Hint: "give production a prefix of its own; or see publish recover --force"}
	}
	if errors.As(err, &dial) && dial.Op == "dial" {
		return &Error{Path: at, Err: err, Hint: "look at s3.endpoint, or wait until the store answers"}
	}
	return &Error{Path: at, Err: err}
}

// objectError is an error about an object, whose text begins with the object's URL. Those
// who passed it on have put its key, or where they were, before that.
type objectError struct {
	error
	prefix string
}

func (e objectError) Error() string {
	text := e.error.Error()
	return text[strings.Index(text, e.prefix):]
}

func (e objectError) Unwrap() error { return e.error }

// load is Repo.load.
func (b *shared) load(ctx context.Context, age time.Duration) (*state, error) {
	p, err := b.pointer(ctx, age)
	if err != nil {
		return nil, err
	}
	return b.state(ctx, p)
}

// state makes the state of a pointer.
func (b *shared) state(ctx context.Context, p *bucket.Pointer) (*state, error) {
	h, err := b.history(ctx, p)
	if err != nil {
		return nil, err
	}
	s := &state{history: h, now: p.Date}
	if s.now.IsZero() {
		s.now = b.r.now()
	}
	if newest := h.Newest(); newest.After(s.now) {
		s.now, s.behind = newest, newest.Sub(s.now)
	}
	s.windows = b.r.window(h)
	if p.Manifest == nil {
		return s, nil
	}
	m, err := b.manifest(ctx, *p.Manifest)
	if err != nil {
		return nil, b.explain(err)
	}
	if err := b.r.store.Furnish(ctx, m); err != nil {
		return nil, err
	}
	s.current = &generation.Tree{Manifest: m, Dir: b.r.store.Dir(m.Generation), Sparse: true,
		Elsewhere: b}
	h.Know(append(b.kept(p), dropped(m)...)...)
	s.windows = b.r.window(h)
	return s, nil
}

// history is the history as of a pointer. Lines that its summary left out are fetched
// when somebody asks for them.
func (b *shared) history(ctx context.Context, p *bucket.Pointer) (*journal.History, error) {
	if len(p.History) == 0 || string(p.History) == "null" {
		return journal.Parse(nil), nil
	}
	h, err := journal.Resume(p.History, func() ([][]byte, error) { return b.lines(ctx, p, 0) })
	if err != nil {
		return nil, &Error{Path: b.r.Production(), Fact: "the pointer is damaged", Err: err,
			Hint: "run publish recover --force"}
	}
	return h, nil
}

// lines returns the newest lines of the history, oldest first; limit 0 is all.
func (b *shared) lines(ctx context.Context, p *bucket.Pointer, limit int) (out [][]byte, err error) {
	for line, err := range b.site.Events(ctx, p.Event) {
		if err != nil {
			return nil, b.explain(err)
		}
		if out = append(out, line); limit > 0 && len(out) == limit {
			break
		}
	}
	slices.Reverse(out)
	return out, nil
}

// Kept is generation.Elsewhere.
func (b *shared) Kept() ([]int, error) {
	p, err := b.pointer(context.Background(), time.Hour)
	if err != nil {
		return nil, err
	}
	return b.kept(p), nil
}

func (b *shared) kept(p *bucket.Pointer) []int {
	var out []int
	for _, ref := range p.Kept {
		out = append(out, ref.Generation)
	}
	if p.Manifest != nil {
		out = append(out, p.Manifest.Generation)
	}
	slices.Sort(out)
	return out
}

// Manifest is generation.Elsewhere.
func (b *shared) Manifest(ctx context.Context, n int) (*generation.Manifest, error) {
	p, err := b.pointer(ctx, time.Hour)
	if err != nil {
		return nil, err
	}
	refs := p.Kept
	if p.Manifest != nil {
		refs = append(slices.Clone(refs), *p.Manifest)
	}
	for _, ref := range refs {
		if ref.Generation == n {
			m, err := b.site.Manifest(ctx, ref)
			return m, b.explain(err)
		}
	}
	return nil, notFound("", "there is no generation %d, or it is not kept any more", n)
}

// note commits a line that is no switch. It changes h, which becomes the history with that
// line: of the present, if other machines added theirs.
func (b *shared) note(ctx context.Context, h *journal.History, e journal.Event) error {
	for {
		p, err := b.pointer(ctx, time.Hour)
		if err != nil {
			return err
		}
		fresh, err := b.history(ctx, p)
		if err != nil {
			return err
		}
		if e.Kind == journal.KindHealth && fresh.Health(e.Generation) != "" {
			*h = *fresh // who took the check over has ended it
			return nil
		}
		e.Time = latest(e.Time, fresh.Newest())
		line, err := fresh.Add(e)
		if err != nil {
			return err
		}
		c, err := b.step(fresh, p)
		if err != nil {
			return err
		}
		c.Event, c.Checked = line, e.Kind == journal.KindHealth && e.Generation == p.Generation
		_, err = b.commit(ctx, p, c)
		if moved := new(bucket.MovedError); errors.As(err, &moved) {
			continue
		}
		if err == nil {
			*h = *fresh
		}
		return err
	}
}

// step is a commit that changes nothing yet, with the summary of h.
func (b *shared) step(h *journal.History, p *bucket.Pointer) (bucket.Commit, error) {
	keep := b.kept(p)
	if p.Manifest != nil {
		m, err := b.site.Manifest(context.Background(), *p.Manifest)
		if err != nil {
			return bucket.Commit{}, b.explain(err)
		}
		keep = append(keep, dropped(m)...)
	}
	summary, err := h.Summary(keep)
	return bucket.Commit{Nonce: bucket.NewNonce(), History: summary}, err
}

// commit is Site.Commit, which makes the result the present, and keeps in a file which
// commit is under way: a command that is killed in it asks later what became of it.
func (b *shared) commit(ctx context.Context, on *bucket.Pointer, c bucket.Commit) (*bucket.Pointer, error) {
	intent := b.intentPath()
	if c.Manifest != nil {
		if err := durable.WriteFile(intent, fmt.Appendf(nil, "%d %s %d\n", on.Seq, c.Nonce,
			c.Manifest.Generation), 0o644); err != nil {
			return nil, err
		}
	}
	p, err := b.site.Commit(ctx, on, c)
	moved := new(bucket.MovedError)
	switch {
	case err == nil:
		b.move(p)
	case errors.As(err, &moved):
		b.move(moved.Now)
		if c.Manifest != nil { // it did not happen, and never will: there is nothing to ask later
			return nil, errors.Join(err, os.Remove(intent))
		}
		return nil, err
	case errors.Is(err, bucket.ErrOutcome) && c.Manifest != nil:
		return nil, b.unknown(fmt.Sprintf("whether generation %d is production", c.Manifest.Generation), err)
	default:
		return nil, b.explain(err)
	}
	return p, nil
}

// unknown is the error for a commit that may have happened, or may happen yet.
func (b *shared) unknown(what string, err error) error {
	return &Error{Kind: Switched, Path: b.r.Production(), Fact: what + " is unknown", Err: err,
		Hint: "run publish recover"}
}

func (b *shared) intentPath() string { return b.r.path(".publish", "commit") }

// pointed is the site of a shared production, for what the repository asks of any site.
// Switches are commits, so it has none of their steps.
type pointed struct{ b *shared }

func (p pointed) Name() string { return "bucket" }

func (p pointed) Guarantee() site.Guarantee {
	placer := p.b.placer()
	return site.Guarantee{Whole: !p.b.direct() || placer != nil && placer.PointerPath() != "", NamedOnceLive: true}
}

func (p pointed) Dir(n int) string { return p.b.r.store.Dir(n) }

func (p pointed) Live(ctx context.Context) (int, error) {
	at, err := p.b.pointer(ctx, time.Hour)
	if err != nil {
		return 0, err
	}
	return at.Generation, nil
}

func (p pointed) Probe(ctx context.Context) error { return nil }

var errShared = errors.New("is no step of a production in an object store")

func (p pointed) Prepare(context.Context, *generation.Tree, *generation.Tree) error { return errShared }
func (p pointed) Switch(context.Context, int, int) error                            { return errShared }
func (p pointed) Settle(context.Context) error                                      { return nil }
func (p pointed) Tidy(context.Context) error                                        { return nil }
func (p pointed) Replace(context.Context, int, string) (string, error)              { return "", errShared }
func (p pointed) Expire(context.Context, *generation.Tree, []tree.Row, []catalog.Document) ([]site.Stay, error) {
	return nil, errShared
}

// elsewhere opens content that is not on this machine; nil if all is.
func (r *Repo) elsewhere() func(context.Context, tree.Row) (io.ReadCloser, error) {
	if r.shared == nil {
		return nil
	}
	return r.shared.open
}
