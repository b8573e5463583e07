package publish

import (
	"bytes"
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
	"time"

	"go.yaml.in/yaml/v3"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// InitOptions describe the repository to make.
type InitOptions struct {
	Format     string // "": the default
	Switch     string // "": the first of the sites
	Production string // "": production
	Group      string // the group that may write to staging; "": only the owner may
	Adopt      string // the tree that Adopt is called with next; "": none
	Led        *Setup // what publish.yaml of a target gets beside these; nil for an ordinary repository
}

// checkProduction refuses anything that already exists where production will be,
// because no promote could replace it. The tree to adopt is allowed.
func (opt InitOptions) checkProduction(dir string, c *Config) error {
	if c.InStore() {
		return nil
	}
	prod := c.production(dir)
	fi, err := os.Lstat(prod)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if opt.Adopt != "" {
		if same, err := durable.SameFile(opt.Adopt, prod); err == nil && same {
			return foreign(opt.Adopt, prod) // there is no repository yet whose it could be
		}
	}
	e := &Error{Kind: Usage, Path: prod, Fact: "exists already, and no promote could replace it",
		Hint: fmt.Sprintf("publish init --adopt %s takes it over as generation 1; or move it away", prod)}
	switch id, err := generation.Identity(prod); {
	case err == nil && id != 0:
		e.Fact, e.Hint = fmt.Sprintf("is production of another repository already, generation %d", id),
			"give another path with --production"
	case fi.Mode()&fs.ModeSymlink != 0 && err != nil, !fi.IsDir() && fi.Mode()&fs.ModeSymlink == 0:
		e.Hint = "move it away"
	}
	return e
}

// Init makes a repository at dir, which is empty or missing, or has the remains of an
// interrupted init. The file that marks it as a repository is written last.
func Init(dir string, choices Choices, opt InitOptions) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if !opt.inStore() { // that of a target in a store lies in the repository that leads
		if err := checkDir(dir); err != nil {
			return err
		}
	}
	made, err := missing(dir)
	if err != nil {
		return err
	}
	if !gone(layoutPath(dir)) {
		return &Error{Kind: Usage, Path: dir, Fact: "is a repository already", Hint: "publish status --repo " + dir +
			" shows it"}
	}
	if unversioned(dir) {
		return &Error{Kind: Usage, Path: layoutPath(dir), Fact: "is missing", Hint: versionHint(dir)}
	}
	c, err := initConfig(dir, choices, opt)
	if err != nil {
		return err
	}
	if err := opt.checkProduction(dir, c); err != nil {
		return err
	}
	fresh := gone(idPath(dir))
	made, err = layOut(dir, made)
	if err == nil && opt.Group != "" {
		err = shareWith(dir, opt.Group)
	}
	if err == nil {
		var r *Repo
		var f catalog.Format
		if c.InStore() && choices.Format != nil {
			f = choices.Format(c.Format)
		}
		if r, err = assemble(dir, c, f, choices.Sites, Options{Store: choices.Store, sleep: choices.sleep}); err == nil {
			err = r.site.Probe(context.Background())
		}
		if err == nil && r.shared != nil {
			err = r.shared.found(context.Background(), opt.Led)
		}
	}
	if err != nil {
		// Do not leave half a repository behind.
		if fresh {
			_ = os.Remove(idPath(dir))
			_ = durable.RemoveAll(filepath.Join(dir, ".publish", "bucket")) // copies of what is in a store
		}
		for _, p := range slices.Backward(made) {
			_ = os.Remove(p)
		}
		return err
	}
	state := filepath.Join(dir, ".publish")
	// What an init that was killed here left.
	if err := durable.SweepPending(filepath.Join(dir, ConfigName)); err != nil {
		return err
	}
	if gone(filepath.Join(dir, ConfigName)) {
		text, err := configText(opt)
		if err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(dir, ConfigName), text, 0o644); err != nil {
			return err
		}
	}
	if err := generation.GiveID(idPath(dir)); err != nil {
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

// missing returns dir and the directories above it that do not exist, the topmost
// first.
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

// layOut makes the folders and the lock files of a repository. It appends to made
// those that did not exist.
func layOut(dir string, made []string) ([]string, error) {
	state := filepath.Join(dir, ".publish")
	// Not durable.MkdirAll: the repository belongs to the user who makes it, even
	// if the parent has another owner.
	for _, d := range made {
		err := os.Mkdir(d, 0o700)
		if err == nil {
			err = os.Chmod(d, 0o755)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return made, err
		}
	}
	for _, d := range []string{filepath.Join(dir, "staging"), filepath.Join(dir, "generations"), state,
		filepath.Join(state, "manifests"), filepath.Join(state, "trash")} {
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

// initConfig returns the configuration that the new repository will have: an existing
// publish.yaml, else what the options ask for.
func initConfig(dir string, choices Choices, opt InitOptions) (*Config, error) {
	c, err := LoadConfig(dir, choices)
	if err != nil {
		return nil, err
	}
	there := !gone(filepath.Join(dir, ConfigName))
	set := func(key string, have *string, want string) error {
		if want == "" || want == *have {
			return nil
		}
		if there {
			return &Error{Kind: Usage, Path: filepath.Join(dir, ConfigName),
				Fact: fmt.Sprintf("says %s: %s, but %s was requested", key, *have, want),
				Hint: "change the file, or leave the flag out"}
		}
		*have = want
		return nil
	}
	if err := errors.Join(set("format", &c.Format, opt.Format), set("switch", &c.Switch, opt.Switch),
		set("production", &c.Production, opt.Production)); err != nil {
		return nil, err
	}
	err = c.check(choices)
	if err == nil {
		err = c.checkProduction(dir)
	}
	if err != nil {
		return nil, &Error{Kind: Usage, Err: err}
	}
	return c, nil
}

// configText is the publish.yaml that init writes: the settings that differ from the
// defaults, and a comment that names the documentation.
func configText(opt InitOptions) ([]byte, error) {
	text := "# publish.yaml: every key is optional; `publish help config` lists them with their defaults.\n"
	if opt.inStore() {
		text = "# publish sync writes this file: it has what the repository that leads says of this target.\n"
		opt.Switch = ""
	}
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
	if opt.Led == nil {
		return []byte(text), nil
	}
	line, err := yaml.Marshal(opt.Led.keys())
	if err != nil {
		return nil, err
	}
	return append([]byte(text), line...), nil
}

// keys are those of publish.yaml that are not among the flags of init.
func (s *Setup) keys() any {
	return struct {
		Grace         string    `yaml:"grace"`
		Include       []string  `yaml:"include,omitempty"`
		SparseIndexes bool      `yaml:"sparse_indexes,omitempty"`
		S3            *S3Config `yaml:"s3,omitempty"`
	}{Duration(time.Duration(s.GraceMS) * time.Millisecond).String(), s.Include, s.SparseIndexes, s.S3}
}

// inStore reports whether the repository is for a target in an object store.
func (opt *InitOptions) inStore() bool { return opt.Led != nil && opt.Led.S3 != nil }

// InitTarget makes a repository for a target at dir, which is missing, empty, or has the
// remains of an interrupted init. setup comes from a leader, and is checked.
func InitTarget(dir string, choices Choices, setup Setup) error {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, d := range list {
		if !slices.Contains(ownPlaces, d.Name()) {
			return &Error{Kind: Refused, Path: dir, Fact: fmt.Sprintf("is no repository, and has %q in it", d.Name()),
				Hint: "give an empty directory, or one that is not there yet"}
		}
	}
	if setup.S3 != nil {
		return initInStore(dir, choices, setup)
	}
	if !filepath.IsLocal(setup.Production) || setup.GraceMS < 0 || setup.GraceMS > maxGraceMS {
		return &Error{Kind: Invalid, Fact: "the leader asks for a production, or a grace, that no target gets"}
	}
	return Init(dir, choices, InitOptions{Format: setup.Format, Switch: setup.Switch, Production: setup.Production,
		Led: &setup})
}

// initInStore is InitTarget for a target in an object store: it makes production there, or
// joins the one that an earlier sync made, of this machine or of another one.
func initInStore(dir string, choices Choices, setup Setup) error {
	if err := durable.MkdirAll(filepath.Dir(dir), 0o700); err != nil { // headers may be secret
		return err
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := Configure(dir, setup); err != nil {
		return err
	}
	return Init(dir, choices, InitOptions{Format: setup.Format, Production: setup.Production, Led: &setup})
}

// Configure makes the publish.yaml of a target in an object store say what its leader's says.
func Configure(dir string, setup Setup) error {
	text, err := configText(InitOptions{Format: setup.Format, Production: setup.Production, Led: &setup})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, ConfigName)
	if was, err := durable.ReadFile(path, maxConfig); err == nil && bytes.Equal(was, text) {
		return nil
	}
	return durable.WriteFile(path, text, 0o600)
}

// maxGraceMS bounds the grace that a leader gives a new target: a hundred years.
const maxGraceMS = 100 * 365 * 24 * 3600 * 1000

// shareWith lets a group of builders write to staging: to its tree (new files inherit
// the group), its trash and its lock. Nothing else is shared.
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
	return lock.Repair(filepath.Join(dir, ".publish", stagingLock), lock.Shared(filepath.Join(dir, "staging")))
}
