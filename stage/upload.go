package stage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/publish/stage/durable"
)

// abandoned is the age at which an upload is removed if its process cannot be
// checked, because it ran on another host or in a container. No upload takes a
// week.
const abandoned = 7 * 24 * time.Hour

// upload is a private directory below staging, on the same file system, for files
// that are still being written. Its name identifies the process that made it, so
// that a later command can remove it if that process was killed. Files are made
// through the open directory. So nobody can redirect them with a link in place of
// the directory.
type upload struct {
	parent *durable.Dir // the directory of uploads
	dir    *durable.Dir
	name   string // in parent
}

func (s *Stage) upload() (*upload, error) {
	parent, err := s.incoming()
	if err != nil {
		return nil, err
	}
	u := &upload{}
	if u.parent, err = s.openDir(parent); err != nil {
		return nil, err
	}
	if u.name, u.dir, err = u.parent.MkdirTemp(Self() + "."); err != nil {
		_ = u.parent.Close() // nothing was written to it
		return nil, err
	}
	return u, nil
}

// path returns the path at which the directory was made.
func (u *upload) path() string { return u.dir.Path() }

// close removes the directory, unless it was renamed. A second call does nothing.
func (u *upload) close() {
	if u.dir == nil {
		return
	}
	_ = u.dir.Close() // files that were moved out of it are synced
	_ = u.parent.RemoveAll(u.name)
	_ = u.parent.Close()
	u.dir = nil
}

// write writes a document to a file, which the batch will sync.
func (u *upload) write(batch *durable.Batch, name string, data []byte) error {
	f, err := u.dir.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return batch.Take(f)
}

// incomingNames is the number of names for the directory of uploads. Another name
// is used if something else has the first one, or a directory that this user
// cannot write to.
const incomingNames = 8

func incomingName(i int) string {
	if i == 0 {
		return Incoming
	}
	return fmt.Sprint(Incoming, "-", i+1)
}

// Uploads returns the directories of uploads below staging that this user may
// write to.
func (s *Stage) Uploads() []string {
	var out []string
	for i := range incomingNames {
		if dir := filepath.Join(s.Dir, incomingName(i)); realDir(dir) == nil && durable.Usable(dir) {
			out = append(out, dir)
		}
	}
	return out
}

// incoming returns the directory of uploads, and makes it if needed. It does not
// use a link, because a builder could make one that leads out of staging.
func (s *Stage) incoming() (string, error) {
	var first error
	for i := range incomingNames {
		dir := filepath.Join(s.Dir, incomingName(i))
		err := realDir(dir)
		if err == nil && durable.Usable(dir) {
			return dir, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			if err := durable.MkdirAll(dir, s.dirMode()); err != nil {
				return "", err
			}
			// Without this sync, a power cut could lose the list of apply but keep
			// some of its documents.
			return dir, durable.SyncDir(s.Dir)
		}
		if err == nil {
			err = &fs.PathError{Op: "open", Path: dir, Err: syscall.EACCES}
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

// sweep removes uploads of processes that have ended. An upload that cannot be
// removed, because another user owns it, does no harm.
func (s *Stage) sweep() {
	for _, dir := range s.Uploads() {
		s.sweepUploads(dir)
	}
}

func (s *Stage) sweepUploads(parent string) {
	dir, err := s.openDir(parent)
	if err != nil {
		return
	}
	defer dir.Close()
	names, err := dir.Names()
	if err != nil {
		return
	}
	for _, name := range names {
		if name == applying || strings.HasPrefix(name, applying+"-") {
			continue
		}
		if strings.HasPrefix(name, here()) {
			if !Ended(name) {
				continue
			}
		} else if fi, err := dir.Lstat(name); err != nil || s.Now().Sub(fi.ModTime()) < abandoned {
			continue
		}
		if err := dir.RemoveAll(name); err != nil && s.Left != nil {
			s.Left(filepath.Join(parent, name), err)
		}
	}
}

// Self returns a name for this process that is unique among all processes of this
// host and its containers, past ones included.
func Self() string {
	pid := os.Getpid()
	return fmt.Sprintf("%s%d.%s", here(), pid, started(pid))
}

// Ended reports whether the process with this Self is known to have ended. The
// name may be followed by a dot and more text. For a process in another container
// the result is false.
func Ended(self string) bool {
	rest, ok := strings.CutPrefix(self, here())
	if !ok {
		return false
	}
	pid, rest, _ := strings.Cut(rest, ".")
	start, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(pid)
	return err == nil && n > 0 && !runs(n, start)
}

// here returns the prefix of Self for processes of this host and this PID
// namespace. Only these can be checked.
func here() string {
	host, _ := os.Hostname()
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		ns = "0"
	}
	ns = strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, ns)
	return strings.NewReplacer(".", "-", "/", "-").Replace(host) + "." + ns + "."
}

// runs reports whether the process with this pid and start time still runs. The
// start time is needed because pids are reused, in a container often by the next
// run of the same program.
func runs(pid int, start string) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	now := started(pid)
	return start == "0" || now == "0" || start == now
}

// started returns when a process started, in clock ticks since boot; "0" if that is
// unknown, and "ended" for a zombie.
func started(pid int) string {
	stat, err := durable.ReadFile(fmt.Sprintf("/proc/%d/stat", pid), 4096)
	if err != nil {
		return "0"
	}
	// See proc(5). The second field is a name that may contain spaces and
	// parentheses; the start time is field 22.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "0"
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return "ended" // its parent has not waited for it yet
	}
	return string(fields[19])
}
