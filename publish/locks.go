package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// The lock files, below .publish, in the order in which they are taken.
const (
	prepareLock    = "prepare.lock"
	stagingLock    = "staging.lock"
	productionLock = "lock"
)

// lockNames are the lock files with their names in status.
var lockNames = []struct{ file, label string }{{prepareLock, "prepare"}, {stagingLock, "staging"},
	{productionLock, "production"}}

// locks are the locks of the repository at dir.
type locks struct{ dir string }

func (r *Repo) locks() locks { return locks{r.Dir} }

func (l locks) path(name string) string { return filepath.Join(l.dir, ".publish", name) }

// access says who may take a lock. This matters for security: a user who may take a
// lock can block a revert for ever. The staging lock is also for the builders, which
// is the group that may write to staging. If staging is missing, the group of trash is
// used.
func (l locks) access(name string) lock.Access {
	if name != stagingLock {
		return lock.Private()
	}
	if dir := filepath.Join(l.dir, "staging"); !gone(dir) {
		return lock.Shared(dir)
	}
	return lock.Shared(l.path("trash"))
}

// mendLocks corrects the permissions of the lock files and of the hash cache. Older
// versions made the locks readable, and so lockable, by everybody, and the cache
// writable by a group.
func (r *Repo) mendLocks() {
	locks := r.locks()
	for _, l := range lockNames {
		if err := lock.Repair(locks.path(l.file), locks.access(l.file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.opt.Warn(fmt.Sprintf("the permissions of a lock could not be repaired: %v", err))
		}
	}
	if err := tree.MendCache(r.Stage.Hashes); err != nil {
		r.opt.Warn(fmt.Sprintf("the permissions of the hash cache could not be repaired: %v", err))
	}
}

// create makes the missing lock files, with their permissions.
func (l locks) create() error {
	for _, of := range lockNames {
		if err := lock.Create(l.path(of.file), l.access(of.file)); err != nil {
			return err
		}
	}
	return nil
}

// lock takes one of the repository's locks.
func (r *Repo) lock(ctx context.Context, name, verb string) (func(), error) {
	var wait time.Duration
	if r.opt.Wait != nil {
		wait = *r.opt.Wait
	}
	return r.lockWithin(ctx, name, verb, wait)
}

// tryLock is lock without waiting.
func (r *Repo) tryLock(ctx context.Context, name, verb string) (func(), error) {
	return r.lockWithin(ctx, name, verb, 0)
}

func (r *Repo) lockWithin(ctx context.Context, name, verb string, wait time.Duration) (func(), error) {
	if err := r.allows(verb); err != nil {
		return nil, err
	}
	r.mendLocks()
	unlock, err := lock.Acquire(ctx, r.locks().path(name),
		lock.Options{Verb: verb, Now: r.now(), Wait: wait, Waiting: r.opt.Waiting})
	if err != nil {
		return nil, r.locks().explain(err)
	}
	// A newer program may have upgraded the repository since it was opened.
	if err := CheckLayout(r.Dir); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// explain adds the kind and the hint to an error about a lock.
func (l locks) explain(err error) error {
	var held *lock.HeldError
	switch {
	case errors.As(err, &held):
		return &Error{Kind: Locked, Err: err, Hint: LockedHint(held)}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: Interrupted, Fact: "interrupted; production is unchanged", Err: err}
	case errors.Is(err, fs.ErrPermission):
		if !ownedBy(l.path(""), os.Geteuid()) {
			return &Error{Err: err, Hint: l.ownerHint(err)}
		}
		return &Error{Err: err, Hint: Remedy(err)}
	}
	return err
}

// ownersOnly returns the error for a user who may not take the production lock. A verb
// that takes this lock late calls it first: builders may take the staging lock. others
// says what that user can do instead.
func (r *Repo) ownersOnly(others string) error {
	r.mendLocks()
	f, err := durable.OpenAppend(r.locks().path(productionLock))
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrPermission) {
		return nil // taking the lock reports it
	}
	err = r.locks().explain(err)
	if e := new(Error); errors.As(err, &e) && !ownedBy(r.Dir, os.Geteuid()) {
		e.Hint += "; " + others
	}
	return err
}

// LockedHint is the hint for a lock that another process holds. The kernel releases
// the locks of a process that ends. So if a lock is never released, its holder is
// still running and can be found and stopped.
func LockedHint(held *lock.HeldError) string {
	const first = "wait for it to end, or give --wait DURATION; "
	if held.Holder.PID == 0 {
		return first + "if it does not end, fuser " + held.Path +
			" names the process; when that is stopped, the next command finishes or undoes what it left"
	}
	return fmt.Sprintf("%sif it does not end, look at it with ps -fp %d and stop it with kill %[2]d (in its own "+
		"container, if it runs in one): the next command finishes or undoes what it left",
		first, held.Holder.PID)
}

// ownerHint is the hint for a user who may not take a lock: who owns the repository,
// how to act as that user, and which group may stage.
func (l locks) ownerHint(err error) string {
	owner := ownerOf(l.path(""))
	hint := "run it as the owner of the repository, " + owner
	if id, unnamed := strings.CutPrefix(owner, "user "); unnamed {
		owner = "'#" + id + "'"
	}
	hint += ": sudo -u " + owner + " publish ..."
	at := new(fs.PathError)
	if !errors.As(err, &at) || filepath.Base(at.Path) != stagingLock {
		return hint
	}
	if gid, ok := l.access(stagingLock).Group(); ok {
		name := strconv.Itoa(gid)
		if g, err := user.LookupGroupId(name); err == nil {
			name = g.Name
		}
		return hint + "; members of the group " + name + " may also stage"
	}
	return hint + "; publish init --group GROUP lets a group stage"
}

// state asks the kernel whether a process holds a lock.
func (l locks) state(name string) lock.State {
	_, state := lock.Look(l.path(name))
	return state
}

// held returns the locks that other processes hold, and the names of the locks that
// this user has no permission to test.
func (l locks) held() (held []LockHeld, unknown []string) {
	held, unknown = []LockHeld{}, []string{}
	for _, of := range lockNames {
		switch h, state := lock.Look(l.path(of.file)); {
		case state == lock.Unknown:
			unknown = append(unknown, of.label)
		case state == lock.Held:
			held = append(held, LockHeld{of.label, h})
		}
	}
	return held, unknown
}

// ownedBy reports whether a user owns path or is root.
func ownedBy(path string, uid int) bool {
	fi, err := os.Lstat(path)
	return uid == 0 || err == nil && int(tree.StatOf(fi).UID) == uid
}

// ownerOf returns the name of a file's owner, or "user N" if the number has no name.
func ownerOf(path string) string {
	fi, err := os.Lstat(path)
	if err != nil {
		return "unknown"
	}
	id := strconv.FormatUint(uint64(tree.StatOf(fi).UID), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}
