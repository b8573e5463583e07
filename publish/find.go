package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/publish/stage/durable"
)

// mostNeighbours is how many folders are searched for a hint.
const mostNeighbours = 200

// isRepository reports whether there is a repository at dir itself.
func isRepository(dir string) bool { return !gone(layoutPath(dir)) }

// unversioned reports whether dir was a repository that somebody used, and has lost its
// layout version. One whose init was interrupted has no history yet.
func unversioned(dir string) bool {
	fi, err := os.Lstat(filepath.Join(dir, ".publish", "history"))
	return err == nil && fi.Size() > 0 && !isRepository(dir)
}

// versionHint is the hint for a repository that is unversioned.
func versionHint(dir string) string {
	return fmt.Sprintf("it was a repository: write %d into %s, which is lost; publish verify then checks production",
		layoutVersion, layoutPath(dir))
}

// whereHint is the hint for a directory that is not a repository. It names a
// repository that was probably meant: above the directory, in it or beside it. If
// there is none it says how to make one.
func whereHint(dir string) string {
	if unversioned(dir) {
		return versionHint(dir)
	}
	for d := filepath.Dir(dir); ; d = filepath.Dir(d) {
		if isRepository(d) {
			return fmt.Sprintf("%s is a repository: --repo %s", d, d)
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	near := dir
	if gone(dir) {
		near = filepath.Dir(dir)
	}
	if found := repositoriesIn(near); len(found) > 0 {
		return "did you mean --repo " + strings.Join(found, ", or --repo ") + "?"
	}
	return "run publish init " + dir + " to make one there, or name another with --repo DIR or PUBLISH_REPO"
}

// repositoriesIn returns the repositories among the folders of dir, at most
// three.
func repositoriesIn(dir string) []string {
	f, err := durable.OpenDirNamed(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	list, err := f.ReadDir(mostNeighbours)
	if err != nil {
		return nil
	}
	var out []string
	for _, d := range list {
		if d.IsDir() && isRepository(filepath.Join(dir, d.Name())) {
			out = append(out, filepath.Join(dir, d.Name()))
		}
	}
	slices.Sort(out)
	return out[:min(len(out), 3)]
}

// gone reports whether nothing exists at path.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// Find returns the repository that contains dir: dir itself, or the nearest parent
// that is a repository.
func Find(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := abs; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, ".publish", "layout")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", &Error{Kind: Usage, Path: abs, Fact: "is not in a repository", Hint: whereHint(abs)}
		}
	}
}
