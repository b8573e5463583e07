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

// abandoned is the age at which an upload is removed whose process cannot be
// looked at from here, because it ran on another host or in a container. No
// upload takes a week.
const abandoned = 7 * 24 * time.Hour

// upload is a private directory below staging, on its file system, for files
// that are still being written. Its name says which process it belongs to, so
// that a later command can remove it if that process died. It is open, and files
// are made in the open directory: nothing follows a link that somebody puts in
// the place of the directory of uploads.
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

// path is where the directory was made.
func (u *upload) path() string { return u.dir.Path() }

// close removes the directory. It does nothing a second time, nor for one that
// was given another name.
func (u *upload) close() {
	if u.dir == nil {
		return
	}
	_ = u.dir.Close() // what was kept of it is synced
	_ = u.parent.RemoveAll(u.name)
	_ = u.parent.Close()
	u.dir = nil
}

// write makes a file of a document, for the batch to flush.
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

// incomingNames is how many names there are for the directory of uploads: the
// next is taken where somebody has put something else under the first, or a
// directory that this user may not write to.
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

// incoming makes the directory of uploads. A builder could have put a link
// there that leads out of staging: that is passed over.
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
			// Apply's intents must not vanish in a power cut that the documents survive.
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

// sweep removes uploads of processes that are gone. What cannot be removed,
// because another user owns it, does no harm.
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

// Self is a name of this process that no other process of this host and its
// containers ever had.
func Self() string {
	pid := os.Getpid()
	return fmt.Sprintf("%s%d.%s", here(), pid, started(pid))
}

// Ended reports whether the process with this Self is known to have ended; a dot
// and more may follow the name. Nothing is known about a process in another
// container.
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

// here begins the names of uploads whose processes can be looked at: those of
// this host and this PID namespace.
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

// runs reports whether the process still runs that had this pid and start. A
// pid is used again, in a container often by the next run of the same program.
func runs(pid int, start string) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	now := started(pid)
	return start == "0" || now == "0" || start == now
}

// started returns when a process began, in ticks since the machine did; "0" if
// that is not known, "ended" for one that is only still listed.
func started(pid int) string {
	stat, err := durable.ReadFile(fmt.Sprintf("/proc/%d/stat", pid), 4096)
	if err != nil {
		return "0"
	}
	// proc(5): the second field is a name that may hold anything; the start
	// is the twenty-second.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "0"
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return "ended" // and its parent has not asked how
	}
	return string(fields[19])
}
