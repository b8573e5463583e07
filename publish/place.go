package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"example.com/publish/stage/durable"
)

// ownPlaces are what a repository keeps for itself, below its directory.
var ownPlaces = []string{"staging", "generations", ".publish", ConfigName}

// misplaced says why neither a repository nor a production can be at a place:
// it is in a generation, which never changes, or in what a repository keeps for
// itself; "" if it can be there. The place is given with the directories above
// it, links resolved; it need not exist. own is a repository that may have no
// marker yet; "" for none.
func misplaced(up []string, own string) string {
	repos := slices.DeleteFunc(slices.Clone(up), func(d string) bool { return !there(filepath.Join(d, ".publish", "layout")) })
	if own != "" {
		repos = append(repos, own)
	}
	for _, repo := range repos {
		for _, name := range ownPlaces {
			place := filepath.Join(repo, name)
			for _, d := range up {
				// A bind mount has two names.
				if same, err := sameFile(d, place); d == place || err == nil && same {
					return fmt.Sprintf("is in %s, which the repository %s keeps for itself", place, repo)
				}
			}
		}
	}
	return ""
}

// sealedAbove returns the generation in which a place is; "" if it is in none.
func sealedAbove(up []string) string {
	for _, d := range up {
		if there(filepath.Join(d, identityName)) {
			return d
		}
	}
	return ""
}

// checkDir refuses a directory in which no repository can be made.
func checkDir(dir string) error {
	real, err := resolve(dir)
	if err != nil {
		return err
	}
	up := ancestors(real)
	why := misplaced(up, "")
	if d := sealedAbove(up); d != "" {
		why = fmt.Sprintf("is in %s, a generation, and generations never change", d)
	}
	if why == "" {
		return nil
	}
	return &Error{Kind: Usage, Path: dir, Fact: why, Hint: "make the repository elsewhere: publish init DIR"}
}

// checkMove refuses files to be moved into staging that are in a repository, by
// whatever name: they may be production's.
func (r *Repo) checkMove(files []string) error {
	for _, path := range files {
		real, err := resolve(path)
		if err != nil {
			return err
		}
		up := ancestors(real)
		why := misplaced(up, r.Dir)
		for _, d := range up {
			switch {
			case there(filepath.Join(d, identityName)):
				why = fmt.Sprintf("is in %s, a generation, and generations never change", d)
			case why == "" && there(filepath.Join(d, ".publish", "layout")):
				why = fmt.Sprintf("is in the repository %s", d)
			}
		}
		if why != "" {
			return &Error{Kind: Usage, Path: path, Fact: why, Hint: "leave --move out: a copy is staged then; nothing was staged"}
		}
	}
	return nil
}

// there reports whether something stands at path.
func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
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

// ancestors returns path and the directories above it, and the same of its
// other names: a bind mount of production's folder does not look like one.
func ancestors(path string) []string {
	var list []string
	for _, name := range durable.Names(path) {
		list = append(list, name)
		for name != filepath.Dir(name) {
			name = filepath.Dir(name)
			list = append(list, name)
		}
	}
	return list
}

// resolve returns an absolute path without links. What is missing of it is
// taken as it is written.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		real, err := filepath.EvalSymlinks(dir)
		switch {
		case err == nil:
			return filepath.Join(real, rest), nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || dir == filepath.Dir(dir):
			return "", err
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// checkProduction refuses a production that cannot be switched where it is:
// inside what never changes or belongs to a repository, or around the
// repository itself.
func (c *Config) checkProduction(dir string) error {
	prod := c.production(dir)
	own, err := resolve(dir)
	if err != nil {
		return err
	}
	parent, err := resolve(filepath.Dir(prod))
	if err != nil {
		return err
	}
	at := filepath.Join(parent, filepath.Base(prod)) // not resolved: it may be the link that is switched
	above := ancestors(parent)
	why := misplaced(append([]string{at}, above...), own)
	switch d := sealedAbove(above); {
	case d != "":
		why = fmt.Sprintf("is in %s, a generation, and generations never change", d)
	case strings.HasPrefix(own+"/", at+"/"):
		why = "holds the repository itself"
	}
	if why != "" {
		return fmt.Errorf("production: %s %s", c.Production, why)
	}
	return nil
}
