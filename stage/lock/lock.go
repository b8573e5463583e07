// Package lock is advisory locking between processes, on files that are never
// deleted: unlinking a lock file would let two holders in. The exception is Temporary.
//
// The kernel drops a lock when its holder dies, so a lock is never stale. The
// file's text only shows people who holds it; nothing depends on it.
package lock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/gofrs/flock"
)

// poll is how long to sleep between two tries. Every holder except a
// promote is done within milliseconds, so a longer sleep would leave a queue idle.
const poll = 5 * time.Millisecond

// patience is how often a lock is tried before it counts as held: 250 ms of
// polls. A reader that looks for its holder (see Look) has it for an instant, and
// the kernel takes a moment to drop the locks of a process that was killed.
const patience = 50

// Holder says who holds a lock.
type Holder struct {
	PID   int       `json:"pid"` // in the holder's own PID namespace; 0: not known
	Verb  string    `json:"verb"`
	User  string    `json:"user"`
	Since time.Time `json:"since"` // UTC
}

func (h Holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("pid %d (publish %s by %s, since %s)", h.PID, h.Verb, h.User, h.Since.Format(time.RFC3339))
}

// HeldError is returned when another process holds the lock.
type HeldError struct {
	Path   string
	Holder Holder
}

func (e *HeldError) Error() string { return fmt.Sprintf("%s: locked by %s", e.Path, e.Holder) }

// Options say how to wait.
type Options struct {
	Verb    string
	Now     time.Time
	Wait    time.Duration // at least; 0: 250 ms; negative: as long as it takes
	Waiting func(Holder)  // called once, if the lock is not free within 250 ms and Wait is not 0
}

// Acquire locks the file at path, which exists, and returns the function that
// gives it back. The error is a *HeldError when another holds it, and
// ctx.Err() when the wait was interrupted.
//
// Two calls in one process exclude each other as two processes do: each opens
// the file anew.
func Acquire(ctx context.Context, path string, opt Options) (unlock func(), err error) {
	// O_RDWR: NFS refuses an exclusive lock on a descriptor that only reads.
	// No O_CREATE: a missing lock file means that this is no repository.
	f, err := open(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	l := flock.New(path, flock.SetFlag(os.O_RDWR|safe))
	if err := try(ctx, l.TryLock, path, opt); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// A hint for people: a failure to write it must not fail the command,
	// which may be the revert that frees a full disk.
	write(f, Holder{PID: os.Getpid(), Verb: opt.Verb, User: username(), Since: opt.Now.UTC().Truncate(time.Second)})
	return func() {
		_ = f.Truncate(0)
		_ = f.Close() // it is not the descriptor that holds the lock
		_ = l.Close()
	}, nil
}

// try returns nil when it has the lock. How long it tries is counted in tries
// first, so that a slow machine tries as often as a fast one.
func try(ctx context.Context, lock func() (bool, error), path string, opt Options) error {
	var deadline <-chan time.Time
	if opt.Wait > 0 {
		t := time.NewTimer(opt.Wait)
		defer t.Stop()
		deadline = t.C
	}
	late := opt.Wait == 0
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ok, err := lock(); ok || err != nil {
			return err
		}
		if n == patience && opt.Wait != 0 && opt.Waiting != nil {
			opt.Waiting(holder(path))
		}
		if late && n >= patience {
			return &HeldError{Path: path, Holder: holder(path)}
		}
		pause := time.NewTimer(poll)
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-deadline:
			late = true
		}
		pause.Stop()
	}
}

// State is what Look finds out about a lock.
type State int

const (
	// Free: nobody holds it, or the file is missing.
	Free State = iota
	// Held: somebody holds it.
	Held
	// Unknown: this user may not open the file, so cannot ask the kernel.
	Unknown
)

// Look reports whether somebody holds the lock, and what the holder wrote about
// itself. It asks the kernel, by taking the lock shared for an instant. What
// the file says about a process is no proof that it lives: a PID means
// nothing in another container, and another process may have it now.
// A writer that comes in that instant tries again; see Acquire.
func Look(path string) (Holder, State) {
	f, err := open(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Holder{}, Free
	}
	if err != nil {
		return Holder{}, Unknown
	}
	_ = f.Close()
	l := flock.New(path, flock.SetFlag(os.O_RDONLY|safe))
	ok, err := l.TryRLock()
	switch {
	case err != nil:
		return Holder{}, Unknown
	case ok:
		_ = l.Close()
		return Holder{}, Free
	}
	return holder(path), Held
}

// Limits of what a file may say about a holder: every user who may take the lock may write there.
const (
	maxText = 4096 // bytes
	maxName = 64   // characters of a verb or a user
	maxPID  = 1 << 22
)

// holder returns what the file says about the holder of the lock; a zero Holder if
// it says nothing credible.
func holder(path string) Holder {
	f, err := open(path, os.O_RDONLY, 0)
	if err != nil {
		return Holder{}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText))
	var h Holder
	if err != nil || json.Unmarshal(data, &h) != nil || h.PID <= 0 || h.PID > maxPID {
		return Holder{}
	}
	h.Verb, h.User, h.Since = plain(h.Verb), plain(h.User), h.Since.UTC()
	return h
}

// plain returns a name without what a terminal would take for a command, cut to
// the length of a name.
func plain(name string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		if n++; n > maxName || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
}

func write(f *os.File, h Holder) {
	data, err := json.Marshal(h)
	if err != nil {
		return
	}
	// Cut first: where the disk is full the text of a former holder must not
	// stand for this one.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(append(data, '\n'), 0)
	}
}

func username() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

// safe are the flags with which a lock file is opened: no link is followed, and
// no pipe blocks.
const safe = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// open opens a regular file.
func open(path string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|safe, mode)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("is not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
