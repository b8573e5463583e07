// Package lock is advisory locking between processes, on files that are never
// deleted: unlinking a lock file would let two holders in.
//
// The kernel drops a lock when its holder dies, so a lock is never stale. The
// file's text only tells people who holds it; nothing depends on it.
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
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// poll is how long to sleep between two tries. A held lock is given up within
// milliseconds by all but a promote, so waiting longer would idle a queue.
const poll = 5 * time.Millisecond

// Holder says who holds a lock.
type Holder struct {
	PID   int       `json:"pid"`
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
	Wait    time.Duration // 0: fail at once; negative: as long as it takes
	Waiting func(Holder)  // called once, if the lock is not had at once
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
	l := flock.New(path, flock.SetFlag(os.O_RDWR))
	ok, err := l.TryLock()
	if err == nil && !ok && opt.Wait != 0 {
		if opt.Waiting != nil {
			opt.Waiting(holder(path))
		}
		wctx := ctx
		if opt.Wait > 0 {
			var cancel context.CancelFunc
			wctx, cancel = context.WithTimeout(ctx, opt.Wait)
			defer cancel()
		}
		ok, err = l.TryLockContext(wctx, poll)
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, &HeldError{Path: path, Holder: holder(path)}
	}
	// A hint for people: a failure to write it must not fail the command,
	// which may be the revert that frees a full disk.
	write(path, Holder{PID: os.Getpid(), Verb: opt.Verb, User: username(), Since: opt.Now.UTC().Truncate(time.Second)})
	return func() {
		_ = os.Truncate(path, 0)
		_ = l.Close()
	}, nil
}

// Look tells who holds the lock, without touching it: a reader that took it
// for a moment could make a writer fail. It trusts the text in the file as
// far as the process that it names is alive.
func Look(path string) (Holder, bool) {
	h := read(path)
	if h.PID <= 0 {
		return Holder{}, false
	}
	if err := syscall.Kill(h.PID, 0); errors.Is(err, syscall.ESRCH) {
		return Holder{}, false
	}
	return h, true
}

// holder is what Look tells, for people: a zero Holder where it tells nothing.
func holder(path string) Holder {
	h, _ := Look(path)
	return h
}

func read(path string) Holder {
	f, err := os.Open(path)
	if err != nil {
		return Holder{}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	var h Holder
	if err != nil || json.Unmarshal(data, &h) != nil {
		return Holder{}
	}
	return h
}

func write(path string, h Holder) {
	data, err := json.Marshal(h)
	if err != nil {
		return
	}
	// Closing this descriptor does not give up the lock, which belongs to
	// the other one. Written over the old text in one call, then cut.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	data = append(data, '\n')
	if n, err := f.WriteAt(data, 0); err == nil {
		_ = f.Truncate(int64(n))
	}
}

func username() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

// Create makes the lock file with this mode if it is missing.
func Create(path string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, mode)
	if err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil && !errors.Is(err, fs.ErrPermission) {
		_ = f.Close()
		return err
	}
	return f.Close()
}
