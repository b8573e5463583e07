package publish

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"example.com/publish/stage/durable"
)

// folders are the directories of a repository, relative to its root, except
// production. A copy may lack empty ones: a backup or git may leave them out.
var folders = []string{"staging", "generations", ".publish/manifests", ".publish/trash"}

// lostParts returns the missing folders and lock files, as paths relative to the
// repository. The caches are none: what writes to them makes them.
func (r *Repo) lostParts() []string {
	var out []string
	look := func(part string) {
		if gone(r.path(part)) {
			out = append(out, part)
		}
	}
	for _, part := range folders {
		look(part)
	}
	for _, l := range lockNames {
		look(".publish/" + l.file)
	}
	return out
}

// makeParts makes what lostParts returns, empty. It takes no lock, because a lock may
// be what is missing. Two calls at once do no harm. It returns sentences that say what
// it made.
func (r *Repo) makeParts() ([]string, error) {
	lost := r.lostParts()
	if len(lost) == 0 {
		return nil, nil
	}
	mode, gid := r.buildersMode()
	for _, part := range folders {
		path := r.path(part)
		if !gone(path) {
			continue
		}
		if err := durable.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
		if gid >= 0 && (part == "staging" || part == ".publish/trash") {
			if err := os.Chown(path, -1, gid); err != nil {
				return nil, err
			}
			if err := os.Chmod(path, mode); err != nil {
				return nil, err
			}
		}
	}
	if err := r.locks().create(); err != nil {
		return nil, err
	}
	for _, dir := range []string{r.path(".publish"), r.Dir} {
		if err := durable.SyncDir(dir); err != nil {
			return nil, err
		}
	}
	done := []string{"made what was missing: " + strings.Join(lost, ", ")}
	if n, err := r.site.Live(context.Background()); lost[0] == "staging" && err == nil && n != 0 {
		done = append(done, "staging is empty: publish stage reset fills it with what production has")
	}
	return done, nil
}

// buildersMode returns the group that may write to staging, and the mode of its
// folders. It takes them from what still exists: staging, trash or the lock. The group
// is -1 if only the owner may write to staging.
func (r *Repo) buildersMode() (fs.FileMode, int) {
	for _, path := range []string{r.path("staging"), r.path(".publish", "trash"), r.path(".publish", stagingLock)} {
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm()&0o020 == 0 {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return 0o775 | fs.ModeSetgid, int(st.Gid)
		}
	}
	return 0o755, -1
}

// Explain adds a hint to the error of a command if its cause is a missing part of the
// repository that recover can make.
func (r *Repo) Explain(err error) error {
	var e *Error
	if err == nil || !errors.Is(err, fs.ErrNotExist) || errors.As(err, &e) && (e.Hint != "" || e.Kind != Failed) {
		return err
	}
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err
	}
	within := func(part string) bool { return strings.HasPrefix(filepath.Clean(pe.Path)+"/", r.path(part)+"/") }
	for _, part := range r.lostParts() {
		if within(part) {
			return &Error{Err: err, Hint: "run publish recover: it makes " + part}
		}
	}
	for _, part := range folders {
		if _, there := os.Stat(r.path(part)); within(part) && errors.Is(there, fs.ErrNotExist) {
			return &Error{Err: err, Hint: part + " is a dangling link: make or mount its target"}
		}
	}
	return err
}
