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

// What cannot be deleted stops nobody. Every deletion goes on past what stays,
// and notes it: whoever comes next tries again, and status reads the note. A
// name that is needed again while something stands there is replaced by
// another.

// Leftover is something that publish wanted to delete, and could not.
type Leftover struct {
	Path   string `json:"path"`   // from the repository on; absolute when it lies elsewhere
	Owner  string `json:"owner"`  // its user's name, or number
	Reason string `json:"reason"` // why it could not be deleted
	Remedy string `json:"remedy"` // what to do about it
}

func (l Leftover) String() string {
	return fmt.Sprintf("%s: cannot be deleted: %s (owner: %s); %s", l.Path, l.Reason, l.Owner, l.Remedy)
}

// leftoverScope is who tries again: an attempt replaces all that the one
// before it had noted.
type leftoverScope string

const (
	leftByRecovery leftoverScope = "recovery"
	leftByGC       leftoverScope = "gc"
	leftByRevoke   leftoverScope = "revoke"
	leftInStaging  leftoverScope = "staging"
)

// leftoverRecord is what .publish/leftovers holds, written under the production
// lock. It is a hint: without it the same is found again by the next attempt.
type leftoverRecord map[leftoverScope][]Leftover

// leave notes that path, or what the error names below it, cannot be deleted.
func (r *Repo) leave(scope leftoverScope, path string, err error) {
	l := r.explain(path, err)
	if !slices.ContainsFunc(r.left[scope], func(old Leftover) bool { return old.Path == l.Path }) {
		r.left[scope] = append(r.left[scope], l)
	}
}

// tryAgain forgets what an earlier attempt of this command noted.
func (r *Repo) tryAgain(scope leftoverScope) { r.left[scope] = []Leftover{} }

// drop deletes a file or a tree, and reports whether it is gone. What stays is
// noted.
func (r *Repo) drop(scope leftoverScope, path string) bool {
	err := r.remove(path)
	if err != nil {
		r.leave(scope, path, err)
	}
	return err == nil
}

// tell warns of what a command could not delete that does not hold the
// production lock, and so cannot note it.
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

// leftovers reads what is noted and is still there.
func (r *Repo) leftovers() leftoverRecord {
	rec := leftoverRecord{}
	f, err := durable.Open(r.leftoversPath())
	if err != nil {
		return rec
	}
	defer f.Close()
	_ = json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(&rec) // damaged: a hint that is lost
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

// list returns all of them, sorted by path, each once; never nil.
func (rec leftoverRecord) list() []Leftover {
	out := []Leftover{}
	for _, list := range rec {
		out = append(out, list...)
	}
	slices.SortFunc(out, func(a, b Leftover) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(out, func(a, b Leftover) bool { return a.Path == b.Path })
}

// holds reports whether something of a tree in the store is left over.
func (rec leftoverRecord) holds(name string) bool {
	at := filepath.Join("generations", name)
	return slices.ContainsFunc(rec.list(), func(l Leftover) bool {
		return l.Path == at || strings.HasPrefix(l.Path, at+"/")
	})
}

// warning says of which leftovers a command warns.
type warning int

const (
	warnOfNew warning = iota // those that no command has warned of
	warnOfAll
)

// noteLeftovers writes down what this command could not delete, and warns of
// it. The caller holds the production lock.
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
		_ = os.Remove(r.leftoversPath()) // else it names what is gone, and is read so
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
		r.opt.Warn(fmt.Sprintf("what cannot be deleted was not noted: %v", err))
	}
}

// explain tells what is in the way, whose it is, why it stays and what helps.
func (r *Repo) explain(path string, err error) Leftover {
	if at := new(fs.PathError); errors.As(err, &at) && strings.HasPrefix(at.Path, path) {
		path = at.Path
	}
	l := Leftover{Path: path, Owner: ownerOf(path), Reason: cause(err),
		Remedy: "mend that; publish gc and publish recover try again"}
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
	case errors.Is(err, fs.ErrExist): // ENOTEMPTY too
		l.Reason,
			l.Remedy = "it fills again while it is emptied: a file in it is open on another machine, or somebody "+
			"writes there", "close it"+again
	case errors.Is(err, syscall.EROFS):
		l.Reason, l.Remedy = "it lies on a read-only file system", "mount that for writing"+again
	}
	return l
}

// cause is an error without the path that it names.
func cause(err error) string {
	if at := new(fs.PathError); errors.As(err, &at) {
		err = at.Err
	}
	if at := new(os.LinkError); errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}
