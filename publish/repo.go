package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/sign"
	"example.com/publish/publish/site"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// layoutVersion is the number in .publish/layout: the version of all records of a
// repository. A repository with a higher version is refused. One with a lower version
// works as it is; the first command that writes a record raises the version: see
// upgrade.
//
//	1  the first
//	2  the history can correct its clock and mark gaps
//	3  a long history file is closed; the next one begins with a checkpoint
//	4  a tree has signatures, which its id leaves out; a switch of the kind sign
const layoutVersion = 4

// patience is how long commands wait for a document of staging that a tool writes in
// place.
const patience = 2 * time.Second

// hookMark and hookOf are variables in the environment of hooks and health
// checks. hookMark is the repository: a verb that takes a lock refuses to run in
// a hook of its own repository, because it would wait for its parent. hookOf
// identifies that parent. A process that a hook leaves running inherits the mark,
// which must not count after the parent has ended.
const (
	hookMark = "PUBLISH_IN_HOOK"
	hookOf   = "PUBLISH_HOOK_OF"
)

// Options are settings of the caller.
type Options struct {
	Now      func() time.Time  // nil: time.Now
	Who      string            // the name in the history; "": the user
	Wait     *time.Duration    // for any lock; nil: staging waits, the others fail at once
	Waiting  func(lock.Holder) // is called when the command begins to wait for a lock
	Warn     func(string)      // gets warnings; nil: they are dropped
	Progress func(step string, bytes int64) func(done int64)
	// HookOutput returns a writer for the output of one hook or health check. It is
	// closed afterwards. nil: the output is dropped.
	HookOutput func() io.WriteCloser
	// Store opens the object store that is production: see Choices.
	Store func(dir string, c *Config) (bucket.Store, error)
	sleep func(context.Context, time.Duration) error // tests make waiting for the store short; nil: a timer
	// Mirror returns the state of the mirror's queue, without a lock; nil if there is no
	// queue. The repository does not know the mirror.
	Mirror func(*Repo) (*MirrorState, error)
	// Targets returns what was heard last of the targets, without asking them; nil: nothing.
	Targets func(*Repo) []TargetState
}

// Repo is an open repository.
type Repo struct {
	Dir    string // absolute
	Config *Config
	Stage  *stage.Stage

	format catalog.Format
	store  *generation.Store
	site   site.Site
	shared *shared    // production in an object store; nil: it is on this machine
	sites  site.Kinds // those that publish.yaml can choose
	opt    Options
	now    func() time.Time
	as     *generation.Manifest // see ReadAs; else nil
	keys   *sign.Keyring        // see CheckWith; else nil
	left   leftoverRecord       // what this command could not delete; it has no entry for a scope that was not tried
	// The fields below are set by tests.
	step       func(name string) error          // stops a command at a protocol point; else nil
	remove     func(path string) error          // deletes a file or a tree; else durable.RemoveAll
	free       func(path string) (int64, error) // else durable.Free
	clone      func(dst, src *os.File) error    // else durable.Clone
	closeBytes int64                            // else the constant of that name
}

// Open opens the repository at dir. c is its publish.yaml; f is the format and sites
// has the site that c names.
func Open(dir string, c *Config, f catalog.Format, sites site.Kinds, opt Options) (*Repo, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := CheckLayout(dir); err != nil {
		return nil, err
	}
	return assemble(dir, c, f, sites, opt)
}

// CheckLayout returns an error unless dir is a repository whose layout this version
// knows. Call it before reading publish.yaml, because a newer layout may have new
// keys.
func CheckLayout(dir string) error {
	_, err := readLayout(dir)
	return err
}

func layoutPath(dir string) string { return filepath.Join(dir, ".publish", "layout") }

// readLayout returns the layout version of the repository at dir, from 1 to
// layoutVersion.
func readLayout(dir string) (int, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	path := layoutPath(dir)
	data, err := durable.ReadFile(path, 4096)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return 0, &Error{Kind: Usage, Path: dir, Fact: "is not a repository", Hint: whereHint(dir)}
	}
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err != nil || v < 1:
		return 0, &Error{Path: path, Fact: "does not hold a layout version",
			Hint: fmt.Sprintf("this version of publish writes %d there", layoutVersion)}
	case v > layoutVersion:
		return 0, &Error{Path: dir, Fact: fmt.Sprintf("has layout version %d, this publish knows %d", v, layoutVersion),
			Hint: "use a newer publish; nothing was changed"}
	}
	return v, nil
}

func writeLayout(dir string) error {
	return durable.WriteFile(layoutPath(dir), fmt.Appendf(nil, "%d\n", layoutVersion), 0o644)
}

// upgrade raises the repository's layout to this version. Every function that writes a
// record (a manifest, a line of the history, tombstones, an identity) calls it first:
// an older program that does not know the record must refuse the repository before the
// record exists. It is durable when it returns. It changes nothing if the repository
// is up to date. The caller holds the production lock.
func (r *Repo) upgrade() error {
	v, err := readLayout(r.Dir)
	if err != nil || v == layoutVersion {
		return err
	}
	return errors.Join(writeLayout(r.Dir), r.at("after-upgrade"))
}

func assemble(dir string, c *Config, f catalog.Format, sites site.Kinds, opt Options) (*Repo, error) {
	if globs, err := c.include(nil); err == nil { // else the configuration was refused
		f = catalog.Including(f, globs)
	}
	r := &Repo{Dir: dir, Config: c, format: f, sites: sites, opt: opt, now: opt.Now}
	r.store = r.newStore()
	r.left, r.remove, r.free, r.closeBytes = leftoverRecord{}, durable.RemoveAll, durable.Free, closeBytes
	if r.now == nil {
		r.now = time.Now
	}
	if opt.Warn == nil {
		r.opt.Warn = func(string) {}
	}
	wait := time.Duration(-1)
	if opt.Wait != nil {
		wait = *opt.Wait
	}
	r.Stage = &stage.Stage{Dir: r.path("staging"), Patience: patience, Lock: r.path(".publish", stagingLock),
		Hashes: r.path(".publish", "hashes"), Facts: r.path(".publish", "facts"),
		Format: f, Links: c.Links, Share: c.Share == ShareAuto, Now: r.now, Wait: wait, Waiting: opt.Waiting,
		Progress: opt.Progress}
	r.Stage.Warn = r.opt.Warn
	r.Stage.Revoked, r.Stage.BeforeLock, r.Stage.Served = r.revoked, r.mendLocks, r.served
	r.Stage.Left = func(path string, err error) { r.leave(leftInStaging, path, err) }
	if c.InStore() {
		return r, r.openShared(opt.Store)
	}
	var err error
	if r.site, err = sites.New(c.Switch, r.place()); err != nil {
		return nil, &Error{Kind: Usage, Path: filepath.Join(dir, ConfigName), Err: err}
	}
	return r, nil
}

// place returns what a site must know of the repository.
func (r *Repo) place() site.Place {
	return site.Place{Production: r.Production(), Relative: !filepath.IsAbs(r.Config.Production), Store: r.store.Trees,
		Trees:  r.store,
		Left:   func(path string, err error) { r.leave(leftByRecovery, path, err) },
		Remove: func(path string) error { return r.remove(path) },
		Now:    func() time.Time { return r.now() }, At: r.at}
}

// served returns a function that reports whether production's indexes name a path, or
// named it before it was carried. Files that an adoption carried were never named.
func (r *Repo) served() func(path string) bool {
	paths := map[string]bool{}
	if s, err := r.load(context.Background()); err == nil && s.current != nil {
		for _, row := range s.current.Own {
			paths[row.Path] = row.Role == catalog.Content
		}
		for _, c := range s.current.Carried {
			paths[c.Path] = paths[c.Path] || c.Role == catalog.Content && !s.history.Adopted(c.Dropped)
		}
	}
	return func(path string) bool { return paths[path] }
}

func (r *Repo) path(elem ...string) string { return filepath.Join(append([]string{r.Dir}, elem...)...) }

// Production is the absolute path that the web server serves.
func (r *Repo) Production() string { return r.Config.production(r.Dir) }

// Switch is the name of the site where production is.
func (r *Repo) Switch() string { return r.site.Name() }

// maxRecord is the maximum size of a manifest, the history and other records, in
// bytes: enough for a manifest of five million files, or as many switches.
const maxRecord = 2 << 30

func (r *Repo) grace() time.Duration { return time.Duration(r.Config.Grace) }

// who returns the name of the acting user, for the history. Where many machines write one
// history, it says on which that is: the same name on each of them says nothing.
func (r *Repo) who() string {
	if r.opt.Who != "" {
		return r.opt.Who
	}
	at := ""
	if host, err := os.Hostname(); err == nil && host != "" && r.Config.InStore() {
		at = "@" + host
	}
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" && sudo != name {
		return name + at + " (" + sudo + ")"
	}
	return name + at
}

// at marks a protocol point at which tests can stop the command.
func (r *Repo) at(name string) error {
	if r.step == nil {
		return nil
	}
	return r.step(name)
}

// allows refuses a verb that must not run here and now: one that takes a lock inside a hook
// or health check, and one that a target does not have.
func (r *Repo) allows(verb string) error {
	if err := r.notInHook(verb); err != nil {
		return err
	}
	return r.notLed(verb)
}

// notInHook refuses a verb that takes a lock inside a hook or health check.
func (r *Repo) notInHook(verb string) error {
	in := os.Getenv(hookMark)
	if same, err := durable.SameFile(in, r.Dir); in == "" || err != nil || !same {
		return nil
	}
	if stage.Ended(os.Getenv(hookOf)) {
		return nil
	}
	return refuse("a hook may call status, history, verify and diff",
		"publish %s was called from a hook or health check of this repository", verb)
}

// Allows returns an error if a verb must not run here and now, for verbs of other
// packages.
func (r *Repo) Allows(verb string) error { return r.allows(verb) }

// treeOf returns the directory of a kept generation.
func (r *Repo) treeOf(s *state, n int) string {
	if s.current != nil && s.current.Generation == n {
		return s.current.Dir
	}
	return r.store.Dir(n)
}

// state is a repository at one moment.
type state struct {
	history *journal.History
	current *generation.Tree // nil before the first promote
	windows generation.Windows
	now     time.Time // never before the newest line of the history
	behind  time.Duration
	// due is the tree of which gc is to make the spare, compared with what is to be
	// production while that is sealed; nil for none.
	due *tree.Former
}

// generation is the number of production; 0 before the first promote.
func (s *state) generation() int {
	if s.current == nil {
		return 0
	}
	return s.current.Generation
}

// clockBehind reports whether the clock is behind the newest line of the history. Then
// nothing is deleted.
func (s *state) clockBehind() bool { return s.behind > 0 }

// window returns the windows that the switches of a history opened.
func (r *Repo) window(h *journal.History) generation.Windows {
	return generation.WindowsOf(func(yield func(generation.Switch) bool) {
		for c := range h.Changes() {
			if !yield(generation.Switch{Generation: c.Generation, Left: c.Left, First: c.First, Time: c.Time,
				Grace: time.Duration(c.Grace) * time.Second, Ended: c.Ended}) {
				return
			}
		}
	}, r.grace())
}

// load reads the state without taking a lock or writing anything.
func (r *Repo) load(ctx context.Context) (*state, error) {
	if r.shared != nil {
		return r.shared.load(ctx, freshFor)
	}
	if r.as != nil {
		h, err := r.readHistory()
		if err != nil {
			return nil, err
		}
		n := r.as.Generation
		s, err := r.stateOf(h, n, manifestOf{n: n, Manifest: r.as})
		if err == nil && r.store.Holds(n) { // a switch by exchange has put it beside production
			s.current.Dir = r.store.Dir(n)
		}
		return s, err
	}
	// The manifest is read beside the history. Which one counts is asked after that: the
	// history must not name a later switch than the one that is live.
	ahead := make(chan manifestOf, 1)
	go func() {
		var m manifestOf
		if m.n, m.err = r.site.Live(ctx); m.err == nil && m.n > 0 {
			m.Manifest, m.err = r.manifest(m.n)
		}
		ahead <- m
	}()
	h, err := r.readHistory()
	m := <-ahead
	if err != nil {
		return nil, err
	}
	n, err := r.site.Live(ctx)
	if err != nil {
		return nil, err
	}
	return r.stateOf(h, n, m)
}

// manifestOf is the manifest of generation n, or why it cannot be read.
type manifestOf struct {
	n int
	*generation.Manifest
	err error
}

// stateOf returns the state if generation n is production; 0 for none. ahead may have its
// manifest.
func (r *Repo) stateOf(h *journal.History, n int, ahead manifestOf) (*state, error) {
	now := r.now()
	s := &state{history: h, now: now}
	if newest := h.Newest(); newest.After(now) {
		s.now, s.behind = newest, newest.Sub(now)
	}
	if n == 0 {
		return s, r.know(s, nil)
	}
	m, err := ahead.Manifest, ahead.err
	if ahead.n != n {
		m, err = r.manifest(n)
	}
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		return nil, &Error{Path: r.store.ManifestPath(n), Fact: "the manifest of production is missing",
			Hint: "run publish recover: it is rebuilt from what production serves"}
	}
	if err != nil {
		return nil, err
	}
	s.current = &generation.Tree{Manifest: m, Dir: r.site.Dir(n)}
	return s, r.know(s, s.current)
}

// know makes sure that the state has the windows of all kept trees, and of the files
// that generation g carries.
func (r *Repo) know(s *state, g *generation.Tree) error {
	need, err := r.remembered(g)
	if err != nil {
		return err
	}
	s.history.Know(need...)
	s.windows = r.window(s.history)
	return nil
}

// Generations returns the numbers of the generations whose trees are kept, including
// production, sorted. It takes no lock.
func (r *Repo) Generations() ([]int, error) {
	current, err := r.site.Live(context.Background())
	if err != nil {
		return nil, err
	}
	return r.store.Kept(current)
}

// Made returns the switches that made these generations, as far as the history names
// them. It takes no lock. Of closed files it reads nothing, unless one of the
// generations was not kept when the newest of them was closed.
func (r *Repo) Made(generations []int) (map[int]journal.Made, error) {
	h, err := r.readHistory()
	if err != nil {
		return nil, err
	}
	out := map[int]journal.Made{}
	for _, n := range generations {
		if m, ok := h.Made(n); ok {
			out[n] = m
		}
	}
	return out, nil
}

// next returns a generation number that was never used: it is higher than all numbers
// in history, manifests and trees, including abandoned ones.
func (r *Repo) next(h *journal.History) (int, error) {
	if r.shared != nil {
		return h.Top() + 1, nil
	}
	return r.store.Next(h.Top())
}
