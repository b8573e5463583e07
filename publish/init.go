package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"go.yaml.in/yaml/v3"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// InitOptions say what repository to make.
type InitOptions struct {
	Format     string // "": simplestreams
	Switch     string // "": symlink
	Production string // "": production
	Group      string // "": staging belongs to its owner alone
	Adopt      string // the tree that Adopt takes over next; "": none
}

// checkProduction refuses what no promote could replace: anything that stands
// where production will be, unless it is adopted.
func (opt InitOptions) checkProduction(dir string, c *Config) error {
	prod := c.production(dir)
	fi, err := os.Lstat(prod)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if opt.Adopt != "" {
		if same, err := sameFile(opt.Adopt, prod); err == nil && same {
			return nil
		}
	}
	e := &Error{Kind: Usage, Path: prod, Fact: "exists already, and no promote could replace it",
		Hint: fmt.Sprintf("publish init --adopt %s takes it over as generation 1; or move it away", prod)}
	switch id, err := identity(prod); {
	case err == nil && id != 0:
		e.Fact, e.Hint = fmt.Sprintf("is production of another repository already, generation %d", id), "give another path with --production"
	case fi.Mode()&fs.ModeSymlink != 0 && err != nil, !fi.IsDir() && fi.Mode()&fs.ModeSymlink == 0:
		e.Hint = "move it away"
	}
	return e
}

// Init makes a repository at dir, which is empty, missing, or an init that was
// interrupted. The marker that makes it one comes last.
func Init(dir string, opt InitOptions) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := checkDir(dir); err != nil {
		return err
	}
	made, err := missing(dir)
	if err != nil {
		return err
	}
	if !gone(layoutPath(dir)) {
		return &Error{Kind: Usage, Path: dir, Fact: "is a repository already", Hint: "publish status --repo " + dir + " tells about it"}
	}
	c, err := initConfig(dir, opt)
	if err != nil {
		return err
	}
	if err := opt.checkProduction(dir, c); err != nil {
		return err
	}
	made, err = layOut(dir, made)
	if err == nil && opt.Group != "" {
		err = shareWith(dir, opt.Group)
	}
	if err == nil {
		err = assemble(dir, c, nil, Options{}).sw.probe()
	}
	if err != nil {
		// What cannot be a repository here is not left half made.
		for _, p := range slices.Backward(made) {
			_ = os.Remove(p)
		}
		return err
	}
	state := filepath.Join(dir, ".publish")
	if gone(filepath.Join(dir, ConfigName)) {
		text, err := configText(opt)
		if err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(dir, ConfigName), text, 0o644); err != nil {
			return err
		}
	}
	if err := giveID(dir); err != nil {
		return err
	}
	if err := writeLayout(dir); err != nil {
		return err
	}
	for _, d := range []string{state, dir, filepath.Dir(dir)} {
		if err := durable.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// missing returns dir and those above it that are not there yet, from the top.
func missing(dir string) (list []string, err error) {
	for ; ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		switch {
		case err == nil && fi.IsDir():
			slices.Reverse(list)
			return list, nil
		case err == nil:
			return nil, &Error{Kind: Usage, Path: dir, Fact: "is not a directory"}
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return nil, err
		}
		list = append(list, dir)
	}
}

// layOut makes the folders and the lock files of a repository, and adds to made
// those that were not there.
func layOut(dir string, made []string) ([]string, error) {
	state := filepath.Join(dir, ".publish")
	for _, d := range made { // the repository belongs to who makes it, wherever that is
		err := os.Mkdir(d, 0o700)
		if err == nil {
			err = os.Chmod(d, 0o755)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return made, err
		}
	}
	for _, d := range []string{filepath.Join(dir, "staging"), filepath.Join(dir, "generations"), state, filepath.Join(state, "manifests"), filepath.Join(state, "trash")} {
		if gone(d) {
			made = append(made, d)
		}
		if err := durable.MkdirAll(d, 0o755); err != nil {
			return made, err
		}
	}
	for _, name := range []string{"history", "hashes"} {
		path := filepath.Join(state, name)
		if !gone(path) {
			continue
		}
		made = append(made, path)
		if err := durable.WriteFile(path, nil, 0o644); err != nil {
			return made, err
		}
	}
	for _, l := range lockNames {
		path := filepath.Join(state, l.file)
		if gone(path) {
			made = append(made, path)
		}
		if err := lock.Create(path, lock.Private()); err != nil {
			return made, err
		}
		durable.Give(path)
	}
	return made, nil
}

// initConfig is the configuration that the new repository will have: what is
// in a publish.yaml that lies there already, else what the options ask for.
func initConfig(dir string, opt InitOptions) (*Config, error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	there := !gone(filepath.Join(dir, ConfigName))
	set := func(key string, have *string, want string) error {
		if want == "" || want == *have {
			return nil
		}
		if there {
			return &Error{Kind: Usage, Path: filepath.Join(dir, ConfigName), Fact: fmt.Sprintf("says %s: %s, and %s was asked for", key, *have, want), Hint: "change the file, or leave the flag out"}
		}
		*have = want
		return nil
	}
	if err := errors.Join(set("format", &c.Format, opt.Format), set("switch", &c.Switch, opt.Switch), set("production", &c.Production, opt.Production)); err != nil {
		return nil, err
	}
	err = c.check()
	if err == nil {
		err = c.checkProduction(dir)
	}
	if err != nil {
		return nil, &Error{Kind: Usage, Err: err}
	}
	return c, nil
}

// configText is the publish.yaml that init writes: only what differs from the
// defaults, under a comment that says where to read on.
func configText(opt InitOptions) ([]byte, error) {
	text := "# publish.yaml: every key is optional; `publish help config` lists them with their defaults.\n"
	for _, kv := range [][2]string{{"format", opt.Format}, {"switch", opt.Switch}, {"production", opt.Production}} {
		if kv[1] == "" {
			continue
		}
		line, err := yaml.Marshal(map[string]string{kv[0]: kv[1]})
		if err != nil {
			return nil, err
		}
		text += string(line)
	}
	return []byte(text), nil
}

// shareWith lets a group of builders write to staging: the tree, with the
// group inherited, its trash and its lock. Nothing else.
func shareWith(dir, group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return &Error{Kind: Usage, Fact: "--group " + group, Err: err}
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	for path, mode := range map[string]fs.FileMode{
		filepath.Join(dir, "staging"):           0o775 | fs.ModeSetgid,
		filepath.Join(dir, ".publish", "trash"): 0o775 | fs.ModeSetgid,
	} {
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	return lock.Mend(filepath.Join(dir, ".publish", stagingLock), lock.Shared(filepath.Join(dir, "staging")))
}

// AsideSuffix is put behind the name of a directory that Adopt replaced.
const AsideSuffix = ".before-publish"

// CheckAdopt tells whether the tree, which exists, can be adopted by a
// repository at dir, which need not exist: not when the tree holds it, nor when
// production, an absolute path or one below dir, is to take the tree's place and
// cannot.
func CheckAdopt(dir, tree, production string) error {
	if err := apart(dir, tree); err != nil {
		return err
	}
	if !filepath.IsAbs(production) {
		production = filepath.Join(dir, production)
	}
	return checkPlace(tree, production)
}

// apart refuses a tree that is, or holds, the repository at dir.
func apart(dir, tree string) error {
	own, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	top, err := os.Stat(tree)
	if err != nil {
		return &Error{Kind: Usage, Err: err}
	}
	for d := own; ; d = filepath.Dir(d) {
		real, err := filepath.EvalSymlinks(d)
		if err == nil {
			// By identity and not by name: a bind mount has two names.
			for ; ; real = filepath.Dir(real) {
				if fi, err := os.Stat(real); err == nil && os.SameFile(fi, top) {
					return &Error{Kind: Usage, Path: tree, Fact: "is, or holds, the repository itself", Hint: "make the repository beside it: publish init --adopt " + tree + " DIR"}
				}
				if real == filepath.Dir(real) {
					return nil
				}
			}
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// Adopt takes the live tree at dir over as generation 1 and fills staging with
// it. When dir is where production will be, the generation takes its place in
// one atomic step, so that readers never miss it, and the former directory is
// kept beside it under the name that is returned. Files that no index names
// are carried for one grace window: a client may still know of them.
func (r *Repo) Adopt(ctx context.Context, dir, message string) (*Result, string, error) {
	start := r.now()
	from, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, "", &Error{Kind: Usage, Err: err}
	}
	if err := CheckAdopt(r.Dir, dir, r.Production()); err != nil {
		return nil, "", err
	}
	if same, err := sameFile(dir, r.Production()); err == nil && same {
		// It would take the place of what another repository switches.
		if id, _ := identity(from); id != 0 {
			if n, err := r.whose(from); err != nil || n == 0 {
				return nil, "", &Error{Kind: Usage, Path: dir, Fact: fmt.Sprintf("is production of another repository, generation %d", id),
					Hint: "adopt a copy of it; or, if that repository is gone, remove " + identityName + " and " + treeName + " there first"}
			}
		}
	}
	links, err := stage.SymbolicLinks(ctx, from)
	if err != nil {
		return nil, "", err
	}
	res, aside, err := r.adopt(ctx, from, dir, message)
	if err != nil {
		return res, aside, err
	}
	if _, _, err := r.reset(ctx, links); err != nil {
		return res, aside, afterSwitch(res.Generation, "run publish stage reset to fill staging", err)
	}
	res.DurationMS = r.now().Sub(start).Milliseconds()
	return res, aside, nil
}

func (r *Repo) adopt(ctx context.Context, from, dir, message string) (*Result, string, error) {
	unlockPrepare, err := r.lock(ctx, prepareLock, "init")
	if err != nil {
		return nil, "", err
	}
	defer unlockPrepare()
	if _, err := r.unused(ctx, dir); err != nil {
		return nil, "", err
	}
	if _, err := r.AdoptionNeed(ctx, dir); err != nil {
		return nil, "", err
	}
	snapshot, err := r.private(snapshotPrefix)
	if err != nil {
		return nil, "", err
	}
	defer durable.RemoveAll(snapshot)
	c, carried, before, err := r.adoptTree(ctx, from, snapshot)
	if err != nil {
		return nil, "", interrupted(err)
	}
	c.message = message

	unlock, err := r.lock(ctx, productionLock, "init")
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	s, err := r.unused(ctx, dir)
	if err != nil {
		return nil, "", err
	}
	if _, err := r.sweep(s, true, snapshot); err != nil {
		return nil, "", err
	}
	n, err := r.next(s.history)
	if err != nil {
		return nil, "", err
	}
	m, res, _, err := r.plan(s, c, n)
	if err != nil {
		return nil, "", err
	}
	for i := range carried {
		carried[i].Dropped = n
	}
	m.Carried, res.Carried, res.Warnings, res.LeftOut = carried, len(carried), noNil(c.warnings), c.left
	if err := r.adoptTimes(ctx, from, snapshot, served(m), before); err != nil {
		return nil, "", err
	}
	if err := r.seal(ctx, s, c, m, nil); err != nil {
		return nil, "", interrupted(err)
	}
	begin := r.now()
	aside, err := r.takePlace(n, dir)
	if err != nil {
		_ = r.sw.tidy()
		return nil, "", err
	}
	err = r.settle(s, m)
	res.SwitchUS = r.now().Sub(begin).Microseconds()
	if err != nil {
		return res, aside, err
	}
	return res, aside, r.follow(context.WithoutCancel(ctx), s, m)
}

// unused returns the state of a repository that has no generation and nothing
// staged, and refuses any other: an adoption of dir would push it away.
func (r *Repo) unused(ctx context.Context, dir string) (*state, error) {
	h, err := r.readHistory()
	if err != nil {
		return nil, err
	}
	_, switched := h.last()
	if n, _, err := r.sw.current(); switched || err == nil && n != 0 {
		return nil, &Error{Kind: Usage, Path: r.Dir, Fact: "has generations already",
			Hint: "publish stage reset fills staging with production; publish stage import " + dir + " merges the tree into staging"}
	}
	staged, err := tree.Walk(ctx, r.Stage.Dir)
	if err != nil {
		return nil, err
	}
	if len(staged) > 0 {
		return nil, &Error{Kind: Usage, Path: r.Stage.Dir, Fact: fmt.Sprintf("holds %d files already", len(staged)), Hint: "adopt into a repository in which nothing is staged"}
	}
	return &state{history: h, windows: r.window(h), now: r.now()}, nil
}

// adoptTree clones the tree at from into dir, everything that can be published
// and the files that no index names, validates it, and flushes it. before is the
// state in which the files were found.
func (r *Repo) adoptTree(ctx context.Context, from, dir string) (_ *candidate, _ []Carried, before map[string]tree.Stat, err error) {
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	defer batch.Close()
	entries, err := tree.Walk(ctx, from)
	if err != nil {
		return nil, nil, nil, err
	}
	before = make(map[string]tree.Stat, len(entries))
	for _, e := range entries {
		before[e.Path] = e.Stat
	}
	src := &stage.Stage{Dir: from, Lock: r.path(".publish", stagingLock), Format: r.format, Links: r.Stage.Links, Now: r.now, Wait: r.Stage.Wait, Progress: r.opt.Progress}
	snap, err := src.Snapshot(ctx, dir, &stage.Base{}, batch)
	if err != nil {
		return nil, nil, nil, err
	}
	defer snap.Close()
	valid, report, err := snap.Validate(ctx, stage.Checks{Now: r.now()})
	if err != nil {
		return nil, nil, nil, err
	}
	if valid == nil {
		return nil, nil, nil, &FindingsError{Report: report}
	}
	rows, err := src.Unnamed(ctx, dir, snap, batch)
	if err != nil {
		return nil, nil, nil, err
	}
	c := candidateOf(valid, "")
	c.kind, c.warnings, c.left = KindAdopt, report.Findings, report.LeftOut
	carried := make([]Carried, len(rows))
	for i, row := range rows {
		row.Role = catalog.Content
		carried[i] = Carried{Row: row}
	}
	return c, carried, before, batch.Flush()
}

// adoptTimes gives the files of a clone of the tree at from the times that they
// have there, for production may be served from there until the switch. A file
// that somebody has written to since becomes newer than that.
func (r *Repo) adoptTimes(ctx context.Context, from, dir string, rows []tree.Row, before map[string]tree.Stat) error {
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	t := &timer{ctx: ctx, live: &generation{dir: from}, dir: dir, tmp: dir, now: r.now(), batch: batch}
	for _, row := range rows {
		old, err := os.Lstat(join(from, row.Path))
		switch {
		case errors.Is(err, fs.ErrNotExist), row.Role == catalog.Link:
			continue
		case err != nil:
			return err
		case !tree.StatOf(old).Same(before[row.Path], true):
			err = t.rise(row.Path, row.Path)
		default:
			var fi fs.FileInfo
			if fi, err = os.Lstat(join(dir, row.Path)); err == nil {
				err = t.set(row.Path, fi, old.ModTime())
			}
		}
		if err != nil {
			return err
		}
	}
	return batch.Flush()
}

// takePlace switches to generation n. What stands at production is moved aside
// in the same step.
func (r *Repo) takePlace(n int, dir string) (aside string, err error) {
	prod := r.Production()
	if gone(prod) {
		return "", r.sw.swap(n, true)
	}
	same, err := sameFile(dir, prod)
	if err != nil {
		return "", err
	}
	if !same {
		return "", &Error{Kind: Usage, Path: prod, Fact: "exists and is not the tree to adopt", Hint: "move it away, or adopt it"}
	}
	aside = prod + AsideSuffix
	for i := 2; i < 10; i++ {
		if id, err := r.whose(aside); !(err == nil && id != 0 || r.leadsToStore(aside)) {
			break
		}
		// The new tree of an adoption that was killed just before its switch,
		// or the link to one, which the sweep has removed.
		if r.drop(leftByRecovery, aside) {
			break
		}
		aside = fmt.Sprintf("%s%s-%d", prod, AsideSuffix, i)
	}
	if !gone(aside) {
		return "", &Error{Kind: Usage, Path: aside, Fact: "is in the way: the former directory would be kept under this name", Hint: "move it away"}
	}
	err = r.sw.adopt(n, aside)
	if errors.Is(err, durable.ErrUnsupported) {
		err = &Error{Kind: Usage, Path: prod, Fact: "cannot be replaced in one step", Err: err, Hint: elsewhere(dir)}
	}
	return aside, err
}

func sameFile(a, b string) (bool, error) {
	fa, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	fb, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(fa, fb), nil
}

// leadsToStore reports whether path is a link to where generations are.
func (r *Repo) leadsToStore(path string) bool {
	text, err := os.Readlink(path)
	if err != nil {
		return false
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(filepath.Dir(path), text)
	}
	_, ok := parseNumber(filepath.Base(text))
	store, err := os.Stat(r.path("generations"))
	dir, err2 := os.Stat(filepath.Dir(text))
	return ok && err == nil && err2 == nil && os.SameFile(store, dir)
}
