package mirror

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// desk is where others ask by files. It takes the files of a directory, and keeps an answer
// to each.
//
// The order for a file: its jobs are added, its answer is written, it is removed; each is
// durable before the next. After a kill in between, the file is there still, and is read
// again: then its jobs are there, and asking for them again changes nothing; or its answer
// is there, with the checksum and the time of this very file, and the file is only removed.
// So a request is never lost, and what it asked for is there once.
//
// Who may write into the directory is trusted with no more than that. So nothing in it is
// followed: all is opened below the directory that was opened once.
type desk struct {
	*Mirror
	path string
	step func(name string) error // tests stop it at a point; nil otherwise

	dir, answers *durable.Dir // while the lock is held
	left         map[string]identity
	later        map[string]time.Time // by the clock of the machine: a pause after an error
	said         map[string]string
	seen         fs.FileInfo // the directory, when it had no request left
	keeping
}

// identity tells a file from another one of the same name.
type identity struct {
	size     int64
	modified time.Time
}

func identityOf(fi fs.FileInfo) identity { return identity{fi.Size(), fi.ModTime()} }

// The most that is taken at once: jobs go on between two looks.
const (
	maxTaken      = 100 // files
	maxTakenAsked = 500 // references, after which no further file is begun
)

// tryAgain is how long a file is left alone after an error that is not its own.
const tryAgain = time.Minute

// newDesk returns the desk of a mirror; nil if nobody asks by file.
func (m *Mirror) newDesk() *desk {
	path := m.Config.Requests.DirectoryIn(m.Repo.Dir)
	if path == "" {
		return nil
	}
	return &desk{Mirror: m, path: path, left: map[string]identity{}, later: map[string]time.Time{},
		said: map[string]string{}, keeping: keeping{known: map[string]kept{}}}
}

// glance takes what is there, and brings answers up to date. more says that there are
// files left. Errors are warnings: jobs go on.
func (d *desk) glance(ctx context.Context) (more bool) {
	if d == nil {
		return false
	}
	more, err := d.locked(ctx, d.look)
	if err != nil && ctx.Err() == nil {
		d.sayOnce("", "requests: "+err.Error())
	} else {
		delete(d.said, "")
	}
	return more
}

// locked calls f while no other process does this.
func (d *desk) locked(ctx context.Context, f func(context.Context) (bool, error)) (more bool, err error) {
	path := dir(d.Repo, "requests.lock")
	if _, state := lock.Look(path); state == lock.Held {
		return false, nil // it does what is to be done
	}
	if err := durable.MkdirAll(dir(d.Repo), 0o755); err != nil {
		return false, err
	}
	if err := lock.Create(path, lock.Private()); err != nil {
		return false, err
	}
	unlock, err := lock.Acquire(ctx, path, lock.Options{Verb: "mirror run", Now: d.Now()})
	if held := (*lock.HeldError)(nil); errors.As(err, &held) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unlock()
	if err := d.open(); err != nil {
		return false, err
	}
	defer func() { _, _ = d.dir.Close(), d.answers.Close() }() // nothing is written through them
	return f(ctx)
}

// open opens the directory, and makes what is missing: for those who may stage, where
// staging is a group's.
func (d *desk) open() (err error) {
	if err := d.Repo.CheckRequests(d.path); err != nil {
		return err
	}
	if _, err := os.Lstat(d.path); errors.Is(err, fs.ErrNotExist) {
		if err := d.make(); err != nil {
			return err
		}
	}
	if d.dir, err = durable.OpenBelow(d.path, "."); err != nil {
		return err
	}
	if _, err := d.dir.Lstat(answersIn); errors.Is(err, fs.ErrNotExist) {
		made, err := durable.MakeBelow(d.path, answersIn, 0o755, true)
		if err != nil {
			return errors.Join(err, d.dir.Close())
		}
		_ = made.Close()
	}
	if d.answers, err = d.dir.Below(answersIn); err != nil {
		return errors.Join(err, d.dir.Close())
	}
	return nil
}

func (d *desk) make() error {
	mode, gid := fs.FileMode(0o755), -1
	if fi, err := os.Stat(d.Repo.Stage.Dir); err == nil && fi.Mode().Perm()&0o020 != 0 {
		mode = fi.Mode().Perm() | fs.ModeSetgid
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			gid = int(st.Gid)
		}
	}
	if err := durable.MkdirAll(d.path, 0o755); err != nil {
		return err
	}
	if gid >= 0 {
		if err := os.Chown(d.path, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(d.path, mode)
}

// sayOnce warns of something, unless it did for the same thing before.
func (d *desk) sayOnce(about, text string) {
	if d.said[about] != text {
		d.said[about] = text
		d.warn("%s", text)
	}
}

func (d *desk) at(step string) error {
	if d.step == nil {
		return nil
	}
	return d.step(step)
}

// look does what glance is for.
func (d *desk) look(ctx context.Context) (more bool, err error) {
	names, more, err := d.waiting()
	if err != nil {
		return false, err
	}
	if len(names) > 0 {
		full, err := d.take(ctx, names)
		if err != nil {
			return false, err
		}
		more = more || full
	}
	return more, d.keep(ctx)
}

// waiting returns the names of the oldest requests, so many as are taken at once, and
// whether there are more.
func (d *desk) waiting() (names []string, more bool, err error) {
	fi, err := d.dir.Lstat(".")
	if err != nil {
		return nil, false, err
	}
	if d.seen != nil && os.SameFile(fi, d.seen) && fi.ModTime().Equal(d.seen.ModTime()) {
		return nil, false, nil
	}
	all, err := d.dir.Names()
	if err != nil {
		return nil, false, err
	}
	type request struct {
		name     string
		modified time.Time
	}
	var list []request
	there, postponed := map[string]bool{}, false
	for _, name := range all {
		if d.hidden(name) || !isRequest(name) {
			continue
		}
		there[name] = true
		file, err := d.dir.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, false, err
		case d.left[name] == identityOf(file):
			continue
		case !file.Mode().IsRegular():
			d.leave(name, file, "is not a regular file, and stays")
			continue
		case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
			d.leave(name, file, "has a name with other than printable characters, and stays")
			continue
		case !tellable(file.ModTime()):
			d.leave(name, file, "has a time that no answer can tell, and stays")
			continue
		case time.Now().Before(d.later[name]):
			postponed = true
			continue
		}
		list = append(list, request{name, file.ModTime()})
	}
	for name := range d.left {
		if !there[name] {
			delete(d.left, name)
			delete(d.said, name)
		}
	}
	for name := range d.later {
		if !there[name] {
			delete(d.later, name)
			delete(d.said, name)
		}
	}
	if d.seen = nil; len(list) == 0 && !postponed && time.Since(fi.ModTime()) > settled {
		d.seen = fi
	}
	slices.SortFunc(list, func(a, b request) int {
		return cmp.Or(a.modified.Compare(b.modified), strings.Compare(a.name, b.name))
	})
	more = len(list) > maxTaken
	for _, r := range list[:min(len(list), maxTaken)] {
		names = append(names, r.name)
	}
	return names, more, nil
}

// tellable reports whether JSON has a time: a file system may have years that it has not.
func tellable(at time.Time) bool {
	_, err := at.MarshalJSON()
	return err == nil
}

// leave notes that a file cannot be taken, and says so once.
func (d *desk) leave(name string, fi fs.FileInfo, why string) {
	d.left[name] = identityOf(fi)
	d.sayOnce(name, "requests: "+strconv.Quote(name)+": "+why)
}

// owner returns the name of who has a file.
func owner(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "unknown"
	}
	id := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}

// HTTPPrefix begins the names of requests that came over HTTP: publish serve wrote them.
const HTTPPrefix = "http-"

// retired are names of files that are being removed: this, and the name.
const retired = ".taken-"

// hidden reports whether a name is of a file that is on its way, and clears what kills left.
func (d *desk) hidden(name string) bool {
	if rest, ok := strings.CutPrefix(name, retired); ok {
		d.retire(name, rest)
		return true
	}
	if strings.HasPrefix(name, durable.PendingPrefix) || strings.HasPrefix(name, "."+HTTPPrefix) {
		if fi, err := d.dir.Lstat(name); err == nil && time.Since(fi.ModTime()) > forgotten {
			_ = d.dir.Remove(name) // it does no harm
		}
	}
	return strings.HasPrefix(name, ".")
}

// forgotten is how old a file is that somebody was writing and that nobody writes any more.
const forgotten = 24 * time.Hour

// remove takes a file away whose answer is there. Meanwhile somebody may have put another
// one in its place: so it is first moved aside, and looked at again.
func (d *desk) remove(name string) error {
	if err := d.dir.Rename(name, d.dir, retired+name); err != nil {
		return err
	}
	if err := d.at("set aside"); err != nil {
		return err
	}
	d.retire(retired+name, name)
	return nil
}

// retire removes a file that was moved aside if it is the one that was answered; another
// one gets its name back, and is taken next.
func (d *desk) retire(aside, name string) {
	data, fi, err := d.dir.ReadSmall(aside, MaxRequest)
	if a, there := d.answer(name); fi != nil && there && a.is(sumOf(data, err), fi) {
		_ = d.dir.Remove(aside) // else it is tried again
		return
	}
	if d.dir.RenameNew(aside, d.dir, name) != nil {
		_ = d.dir.Rename(aside, d.dir, durable.PendingPrefix+name) // a still newer one is there
	}
}
