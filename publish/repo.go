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
	"example.com/publish/publish/site"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// layoutVersion is what .publish/layout says: the version of all records that
// a repository holds. A repository with a higher one is left alone. One with a
// lower one works as it is, and gets this one from the first command that
// writes a record: see upgrade.
//
//	1  the first
//	2  a history that corrects its clock and tells of its gaps
//	3  a history whose long file is closed, and goes on behind a checkpoint
const layoutVersion = 3

// hookMark is set in the environment of hooks and health checks, to the
// repository. A verb that takes a lock refuses to run there: it would wait for
// its own parent. hookOf is set to what names that parent: what a hook leaves
// running inherits the mark, and it must not count once the parent has ended.
const (
	hookMark = "PUBLISH_IN_HOOK"
	hookOf   = "PUBLISH_HOOK_OF"
)

// Options are what a caller brings along.
type Options struct {
	Now      func() time.Time // nil: time.Now
	Who      string           // of the history; "": the user
	Wait     *time.Duration   // for any lock; nil: staging waits, the others fail at once
	Waiting  func(lock.Holder)
	Warn     func(string) // told what does not stop the command; nil: nobody
	Progress func(step string, bytes int64) func(done int64)
	// HookOutput returns what gets the output of one hook or health check, and
	// is closed after it; nil: nobody wants it.
	HookOutput func() io.WriteCloser
}

// Repo is an open repository.
type Repo struct {
	Dir    string // absolute
	Config *Config
	Stage  *stage.Stage

	format catalog.Format
	store  *generation.Store
	site   site.Site
	sites  site.Kinds // for which publish.yaml can ask
	opt    Options
	now    func() time.Time
	left   leftoverRecord          // what this command could not delete; a scope that it has not tried is missing
	step   func(name string) error // tests stop a command at a protocol point; nil otherwise
	// remove deletes a file or a tree: durable.RemoveAll, but for tests.
	remove func(path string) error
	free   func(path string) (int64, error) // durable.Free, but for tests
	// closeBytes is the constant, but for tests.
	closeBytes int64
}

// Open opens the repository at dir, whose publish.yaml was read into c and asks
// for the format f, and for one of the sites.
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

// CheckLayout tells whether dir is a repository whose layout this version
// knows. It is worth asking before publish.yaml is read: a newer layout may
// bring keys of its own.
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

// upgrade gives the repository this version's layout. Whoever writes a record
// (a manifest, a line of the history, tombstones, an identity) calls it first:
// an older program that does not know the record must refuse the repository
// before the record is there. It is durable when it returns, and changes
// nothing in a repository that is up to date. The caller holds the production
// lock.
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
	r.Stage = &stage.Stage{Dir: r.path("staging"), Lock: r.path(".publish", stagingLock),
		Hashes: r.path(".publish", "hashes"),
		Format: f, Links: c.Links, Share: c.Share == ShareAuto, Now: r.now, Wait: wait, Waiting: opt.Waiting,
		Progress: opt.Progress}
	r.Stage.Warn = r.opt.Warn
	r.Stage.Revoked, r.Stage.BeforeLock, r.Stage.Served = r.revoked, r.mendLocks, r.served
	r.Stage.Left = func(path string, err error) { r.leave(leftInStaging, path, err) }
	var err error
	if r.site, err = sites.New(c.Switch, r.place()); err != nil {
		return nil, &Error{Kind: Usage, Path: filepath.Join(dir, ConfigName), Err: err}
	}
	return r, nil
}

// place is what a site has to know of the repository.
func (r *Repo) place() site.Place {
	return site.Place{Production: r.Production(), Relative: !filepath.IsAbs(r.Config.Production), Store: r.store.Trees,
		Trees:  r.store,
		Left:   func(path string, err error) { r.leave(leftByRecovery, path, err) },
		Remove: func(path string) error { return r.remove(path) },
		Now:    func() time.Time { return r.now() }, At: r.at}
}

// served tells which paths production's indexes name, or named as long as they
// are carried. What an adoption carried none had named.
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

// maxRecord bounds a manifest, the history and their like, in bytes: a manifest
// of five million files, a history of as many switches.
const maxRecord = 2 << 30

func (r *Repo) grace() time.Duration { return time.Duration(r.Config.Grace) }

// who names the person or machine user that acts, for the history.
func (r *Repo) who() string {
	if r.opt.Who != "" {
		return r.opt.Who
	}
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" && sudo != name {
		return name + " (" + sudo + ")"
	}
	return name
}

// at is a protocol point at which tests can stop the command.
func (r *Repo) at(name string) error {
	if r.step == nil {
		return nil
	}
	return r.step(name)
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

// treeOf is where the tree of a kept generation is.
func (r *Repo) treeOf(s *state, n int) string {
	if s.current != nil && s.current.Generation == n {
		return s.current.Dir
	}
	return r.store.Dir(n)
}

// state is what is known of a repository at one moment.
type state struct {
	history *journal.History
	current *generation.Tree // nil before the first promote
	windows generation.Windows
	now     time.Time // never before the newest line of the history
	behind  time.Duration
}

// clockBehind reports whether the clock stands before the newest line of the
// history: then nothing is deleted.
func (s *state) clockBehind() bool { return s.behind > 0 }

// window returns the windows that began with the switches of a history.
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
	h, err := r.readHistory()
	if err != nil {
		return nil, err
	}
	n, err := r.site.Live(ctx)
	if err != nil {
		return nil, err
	}
	return r.stateOf(h, n)
}

// stateOf is the state in which generation n is production; 0 if there is none.
func (r *Repo) stateOf(h *journal.History, n int) (*state, error) {
	now := r.now()
	s := &state{history: h, now: now}
	if newest := h.Newest(); newest.After(now) {
		s.now, s.behind = newest, newest.Sub(now)
	}
	if n == 0 {
		return s, r.know(s, nil)
	}
	m, err := r.manifest(n)
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		return nil, &Error{Path: r.store.ManifestPath(n), Fact: "the manifest of production is missing",
			Hint: "run publish recover: it is made anew from what production serves"}
	}
	if err != nil {
		return nil, err
	}
	s.current = &generation.Tree{Manifest: m, Dir: r.site.Dir(n)}
	return s, r.know(s, s.current)
}

// know makes sure that the state has the windows of all kept trees, and of what a
// generation carries.
func (r *Repo) know(s *state, g *generation.Tree) error {
	need, err := r.remembered(g)
	if err != nil {
		return err
	}
	s.history.Know(need...)
	s.windows = r.window(s.history)
	return nil
}

// Generations returns the numbers of the generations whose trees are kept,
// sorted, production's included. It takes no lock.
func (r *Repo) Generations() ([]int, error) {
	current, err := r.site.Live(context.Background())
	if err != nil {
		return nil, err
	}
	return r.store.Kept(current)
}

// next returns a generation number that was never used: above all that
// history, manifests and trees name, abandoned ones included.
func (r *Repo) next(h *journal.History) (int, error) {
	return r.store.Next(h.Top())
}
