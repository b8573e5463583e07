package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site"
	"example.com/publish/stage/durable"
)

// ownPlaces are the paths, below its directory, that a repository uses itself.
var ownPlaces = []string{"staging", "generations", ".publish", ConfigName}

// misplaced says why a place can be neither a repository nor production; "" if it can.
// It cannot if it is in a generation, which never changes, or in a path that a
// repository uses itself. up is the place and the directories above it, with links
// resolved; the place need not exist. own is a repository that may not be marked as
// one yet; "" for none.
func misplaced(up []string, own string) string {
	repos := slices.DeleteFunc(slices.Clone(up),
		func(d string) bool { return !there(filepath.Join(d, ".publish", "layout")) })
	if own != "" {
		repos = append(repos, own)
	}
	for _, repo := range repos {
		for _, name := range ownPlaces {
			place := filepath.Join(repo, name)
			for _, d := range up {
				// A bind mount gives a directory two names.
				if same, err := durable.SameFile(d, place); d == place || err == nil && same {
					return fmt.Sprintf("is in %s, which the repository %s keeps for itself", place, repo)
				}
			}
		}
	}
	return ""
}

// checkDir returns an error if no repository can be made in dir.
func checkDir(dir string) error {
	real, err := durable.Resolve(dir)
	if err != nil {
		return err
	}
	up := durable.Above(real)
	why := misplaced(up, "")
	if d := generation.Around(up); d != "" {
		why = fmt.Sprintf("is in %s, a generation, and generations never change", d)
	}
	if why == "" {
		return nil
	}
	return &Error{Kind: Usage, Path: dir, Fact: why, Hint: "make the repository elsewhere: publish init DIR"}
}

// checkMove refuses to move files into staging that are in a repository, under
// whatever name, because production may serve them.
func (r *Repo) checkMove(files []string) error {
	for _, path := range files {
		real, err := durable.Resolve(path)
		if err != nil {
			return err
		}
		up := durable.Above(real)
		why := misplaced(up, r.Dir)
		for _, d := range up {
			switch {
			case there(filepath.Join(d, generation.IdentityName)):
				why = fmt.Sprintf("is in %s, a generation, and generations never change", d)
			case why == "" && there(filepath.Join(d, ".publish", "layout")):
				why = fmt.Sprintf("is in the repository %s", d)
			}
		}
		if why != "" {
			return &Error{Kind: Usage, Path: path, Fact: why,
				Hint: "leave --move out: a copy is staged then; nothing was staged"}
		}
	}
	return nil
}

// CheckOutside returns an error if a file that a person named, and that this program
// will write to, is production, is in it, or is in a path that the repository uses itself.
func (r *Repo) CheckOutside(path string) error {
	why, err := r.Config.within(r.Dir, path)
	if err != nil || why == "" {
		return err
	}
	return &Error{Kind: Usage, Path: path, Fact: why, Hint: "name a file outside production, staging, generations " +
		"and .publish"}
}

// within says why a program must not write to path, for the repository at dir; "" if it
// may. The file need not exist.
func (c *Config) within(dir, path string) (string, error) {
	real, err := target(path)
	if err != nil {
		return "", err
	}
	prod := c.production(dir)
	parent, err := durable.Resolve(filepath.Dir(prod))
	if err != nil {
		return "", err
	}
	up := durable.Above(real)
	for _, d := range up {
		if same, err := durable.SameFile(d, prod); d == filepath.Join(parent, filepath.Base(prod)) || err == nil && same {
			return fmt.Sprintf("is in production, %s", prod), nil
		}
	}
	if d := generation.Around(up); d != "" {
		return fmt.Sprintf("is in %s, a generation, and generations never change", d), nil
	}
	own, err := durable.Resolve(dir)
	if err != nil {
		return "", err
	}
	return misplaced(up, own), nil
}

// target returns the absolute path, without links, of the file that a program makes if it
// opens path: a dangling link leads there too.
func target(path string) (string, error) {
	for range 40 { // as many links as Linux follows
		real, err := durable.Resolve(path)
		if err != nil {
			return "", err
		}
		text, err := os.Readlink(real)
		if err != nil {
			return real, nil // it is no link
		}
		if path = text; !filepath.IsAbs(text) {
			path = filepath.Join(filepath.Dir(real), text)
		}
	}
	return "", &os.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
}

// checkAccessLog returns an error if serve must not write its access log where
// publish.yaml of the repository at dir has it.
func (c *Config) checkAccessLog(dir string) error {
	path := c.Serve.AccessLogIn(dir)
	if path == "" || path == "-" {
		return nil
	}
	why, err := c.within(dir, path)
	if err == nil && why != "" {
		err = fmt.Errorf("serve.access_log: %s %s", c.Serve.AccessLog, why)
	}
	return err
}

// notRepository refuses a directory that is a repository where a tree to publish is meant:
// its history, its configuration and former generations would become files of that tree.
func notRepository(dir string) error {
	if !there(layoutPath(dir)) {
		return nil
	}
	return &Error{Kind: Usage, Path: dir, Fact: "is a repository, not a tree to publish",
		Hint: "give " + filepath.Join(dir, "production")}
}

// there reports whether something exists at path.
func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkProduction returns an error if production cannot be switched at its path.
func (c *Config) checkProduction(dir string) error {
	if c.InStore() {
		return nil
	}
	why, err := site.Misplaced(c.production(dir), dir, misplaced)
	if err == nil && why != "" {
		err = fmt.Errorf("production: %s %s", c.Production, why)
	}
	return err
}
