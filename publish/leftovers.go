package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"example.com/publish/stage"
	"example.com/publish/stage/durable"
)

// A file that cannot be deleted stops no command. The deletion continues with the
// rest and notes the file as a leftover. Later commands try again, and status
// reports the note. If a name is needed again while a leftover has it, another
// name is used.

// Leftover is something that publish wanted to delete and could not.
type Leftover struct {
	Path   string `json:"path"`   // relative to the repository; absolute if it is outside
	Owner  string `json:"owner"`  // its user's name, or number
	Reason string `json:"reason"` // why it could not be deleted
	Remedy string `json:"remedy"` // what to do about it
}

func (l Leftover) String() string {
	return fmt.Sprintf("%s: cannot be deleted: %s (owner: %s); %s", l.Path, l.Reason, l.Owner, l.Remedy)
}

// leftoverScope says which kind of command noted a leftover. A new attempt of that
// kind replaces all notes of the one before.
type leftoverScope string

const (
	leftByRecovery leftoverScope = "recovery"
	leftByGC       leftoverScope = "gc"
	leftByRevoke   leftoverScope = "revoke"
	leftInStaging  leftoverScope = "staging"
)

// leftoverRecord is the content of .publish/leftovers, which is written under the
// production lock. It is only a hint: if it is lost, the next attempt finds the same
// leftovers again.
type leftoverRecord map[leftoverScope][]Leftover

// leave notes that path cannot be deleted, or the path below it that the error names.
func (r *Repo) leave(scope leftoverScope, path string, err error) {
	l := r.explain(path, err)
	if !slices.ContainsFunc(r.left[scope], func(old Leftover) bool { return old.Path == l.Path }) {
		r.left[scope] = append(r.left[scope], l)
	}
}

// tryAgain forgets what an earlier attempt in this command noted.
func (r *Repo) tryAgain(scope leftoverScope) { r.left[scope] = []Leftover{} }

// drop deletes a file or a tree, and reports whether it is gone. If not, it notes a
// leftover.
func (r *Repo) drop(scope leftoverScope, path string) bool {
	err := r.remove(path)
	if err != nil {
		r.leave(scope, path, err)
	}
	return err == nil
}

// tell warns of leftovers, for a command that does not hold the production lock and so
// cannot note them.
func (r *Repo) tell(scope leftoverScope) {
	for n, l := range r.left[scope] {
		if n == maxUnread {
			r.opt.Warn(fmt.Sprintf("%d more files cannot be deleted", len(r.left[scope])-n))
			break
		}
		r.opt.Warn(l.String())
	}
}

func (r *Repo) leftoversPath() string { return r.path(".publish", "leftovers") }

// leftovers reads the notes of leftovers that still exist.
func (r *Repo) leftovers() leftoverRecord {
	rec := leftoverRecord{}
	f, err := durable.Open(r.leftoversPath())
	if err != nil {
		return rec
	}
	defer f.Close()
	_ = json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(&rec) // if it is damaged, only a hint is lost
	return r.present(rec)
}

func (r *Repo) present(rec leftoverRecord) leftoverRecord {
	out := leftoverRecord{}
	for scope, list := range rec {
		list = slices.DeleteFunc(slices.Clone(list), func(l Leftover) bool { return gone(r.absolute(l.Path)) })
		if len(list) > 0 {
			out[scope] = list
		}
	}
	return out
}

func (r *Repo) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return r.path(path)
}

// list returns all leftovers, sorted by path, each once. It is never nil.
func (rec leftoverRecord) list() []Leftover {
	out := []Leftover{}
	for _, list := range rec {
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b Leftover) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(out, func(a, b Leftover) bool { return a.Path == b.Path })
}

// holds reports whether a tree in the store, or something in it, is a leftover.
func (rec leftoverRecord) holds(name string) bool {
	at := filepath.Join("generations", name)
	return slices.ContainsFunc(rec.list(), func(l Leftover) bool {
		return l.Path == at || strings.HasPrefix(l.Path, at+"/")
	})
}

// warning says which leftovers a command warns of.
type warning int

const (
	warnOfNew warning = iota // those that no earlier command has warned of
	warnOfAll
)

// noteLeftovers writes down what this command could not delete, and warns of it. The
// caller holds the production lock.
func (r *Repo) noteLeftovers(of warning) {
	before := r.leftovers()
	now := r.present(r.left)
	for scope, list := range before {
		if _, tried := r.left[scope]; !tried {
			now[scope] = list
		}
	}
	known := before.list()
	for _, l := range now.list() {
		if of == warnOfAll || !slices.ContainsFunc(known, func(old Leftover) bool { return old.Path == l.Path }) {
			r.opt.Warn(l.String())
		}
	}
	if len(now) == 0 {
		_ = os.Remove(r.leftoversPath()) // if this fails it does not matter: leftovers ignores what is gone
		return
	}
	if slices.Equal(known, now.list()) && len(before) == len(now) {
		return
	}
	data, err := json.Marshal(now)
	if err == nil {
		err = durable.WriteFile(r.leftoversPath(), append(data, '\n'), 0o644)
	}
	if err != nil {
		r.opt.Warn(fmt.Sprintf("the list of what cannot be deleted was not written: %v", err))
	}
}

// explain describes a leftover: what cannot be deleted, its owner, the reason, and the
// remedy.
func (r *Repo) explain(path string, err error) Leftover {
	if at := new(fs.PathError); errors.As(err, &at) && strings.HasPrefix(at.Path, path) {
		path = at.Path
	}
	l := Leftover{Path: path, Owner: ownerOf(path), Reason: cause(err),
		Remedy: "fix that; publish gc and publish recover try again"}
	if rel, err := filepath.Rel(r.Dir, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		l.Path = rel
	}
	again := ", then publish gc"
	if strings.HasPrefix(path, r.Stage.Dir+"/") &&
		!strings.HasPrefix(path, filepath.Join(r.Stage.Dir, stage.Incoming)) {
		again = ", then publish prune"
	}
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrPermission) && durable.Immutable(path):
		l.Reason, l.Remedy = "it is immutable", "chattr -i "+path+again
	case errors.Is(err, fs.ErrPermission) && durable.Immutable(dir):
		l.Reason, l.Remedy = "its directory is immutable", "chattr -i "+dir+again
	case errors.Is(err, fs.ErrPermission):
		l.Reason = "it lies in a directory of " + ownerOf(dir)
		l.Remedy = "run " + strings.TrimPrefix(again, ", then ") + " as a user who may delete it, or delete it"
	case durable.MountPoint(path):
		l.Reason, l.Remedy = "it is a mount point", "umount "+path+again
	case errors.Is(err, syscall.EBUSY):
		l.Reason, l.Remedy = "it is in use", "end what uses it"+again
	case errors.Is(err, fs.ErrExist): // also ENOTEMPTY
		l.Reason,
			l.Remedy = "it fills again while it is emptied: a file in it is open on another machine, or somebody "+
			"writes there", "close it"+again
	case errors.Is(err, syscall.EROFS):
		l.Reason, l.Remedy = "it lies on a read-only file system", "mount that for writing"+again
	}
	return l
}

// cause returns the text of an error without its path.
func cause(err error) string {
	if at := new(fs.PathError); errors.As(err, &at) {
		err = at.Err
	}
	if at := new(os.LinkError); errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}
