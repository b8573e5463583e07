package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// CheckReplace returns an error if production must take the place of the tree to
// adopt, and cannot do so in one step. If production is another path, the tree may be
// anywhere.
func CheckReplace(live, production string) error {
	if same, err := durable.SameFile(live, production); err != nil || !same {
		return nil // nothing is replaced, or Replace returns the error
	}
	if durable.MountPoint(production) {
		return &fault.Error{Kind: fault.Usage, Path: production,
			Fact: "is a mount point, which cannot be replaced", Hint: elsewhere(live)}
	}
	parent, prefix := filepath.Dir(production), probePrefix(production)
	_ = durable.SweepProbes(parent, prefix, func(string, error) {})
	err := durable.ProbeExchange(parent, parent, prefix)
	if errors.Is(err, durable.ErrUnsupported) {
		return &fault.Error{Kind: fault.Usage, Path: production, Err: err,
			Fact: "cannot be replaced in one step on this file system", Hint: elsewhere(live)}
	}
	return err
}

// probePrefix contains the name of production, because several productions may have
// the same parent.
func probePrefix(production string) string {
	return ".publish-probe-" + filepath.Base(production) + "-"
}

// elsewhere is the hint for a tree whose place production cannot take.
func elsewhere(live string) string {
	return "let the web server serve another path: publish init --adopt " + live + " --production PATH DIR"
}

// replace implements Replace. first makes production if nothing is there. bring gives
// the new production the name aside. Then one exchange puts it at production and the
// old tree at aside.
func (l local) replace(live string, first func() error, bring func(aside string) error) (aside string, err error) {
	if gone(l.Production) {
		return "", first()
	}
	same, err := durable.SameFile(live, l.Production)
	if err != nil {
		return "", err
	}
	if !same {
		return "", &fault.Error{Kind: fault.Usage, Path: l.Production,
			Fact: "exists and is not the tree to adopt", Hint: "move it away, or adopt it"}
	}
	if aside, err = l.aside(); err != nil {
		return "", err
	}
	if err = bring(aside); err == nil {
		err = l.exchange(aside)
	}
	// Where a site probes no exchange, nobody comes back to what CheckReplace could not remove.
	_ = durable.SweepProbes(filepath.Dir(l.Production), probePrefix(l.Production), l.Left)
	if errors.Is(err, durable.ErrUnsupported) {
		err = &fault.Error{Kind: fault.Usage, Path: l.Production, Err: err,
			Fact: "cannot be replaced in one step", Hint: elsewhere(live)}
	}
	return aside, err
}

// aside returns the name under which the former directory is kept. It first removes
// what a killed adoption left under that name just before its switch: its new tree, or
// a link to one that the sweep has removed.
func (l local) aside() (string, error) {
	aside := l.Production + AsideSuffix
	for i := 2; i < 10; i++ {
		if id, err := l.Trees.Whose(aside); !(err == nil && id != 0 || l.leadsToStore(aside)) {
			break
		}
		if err := l.Remove(aside); err == nil {
			break
		} else {
			l.Left(aside, err)
		}
		aside = fmt.Sprintf("%s%s-%d", l.Production, AsideSuffix, i)
	}
	if !gone(aside) {
		return "", &fault.Error{Kind: fault.Usage, Path: aside,
			Fact: "is in the way: the former directory would be kept under this name", Hint: "move it away"}
	}
	return aside, nil
}

// exchange exchanges the new production, which has the name aside, with the old one.
// If that fails it removes the new one.
func (l local) exchange(aside string) error {
	if err := durable.SyncDir(filepath.Dir(aside)); err != nil {
		return err
	}
	err := durable.Exchange(aside, l.Production)
	if err != nil {
		_ = durable.RemoveAll(aside)
	}
	return err
}

// leadsToStore reports whether path is a link into the directory of the generations.
func (l local) leadsToStore(path string) bool {
	text, err := os.Readlink(path)
	if err != nil {
		return false
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(filepath.Dir(path), text)
	}
	_, ok := generation.ParseNumber(filepath.Base(text))
	same, err := durable.SameFile(l.Store, filepath.Dir(text))
	return ok && err == nil && same
}

// gone reports whether nothing exists at path.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
