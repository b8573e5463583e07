package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

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

// there reports whether something exists at path.
func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkProduction returns an error if production cannot be switched at its path.
func (c *Config) checkProduction(dir string) error {
	why, err := site.Misplaced(c.production(dir), dir, misplaced)
	if err == nil && why != "" {
		err = fmt.Errorf("production: %s %s", c.Production, why)
	}
	return err
}
