package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"example.com/publish/stage/durable"
)

// nextPrefix begins the name of a tree that waits for its switch.
const nextPrefix = ".next-"

// switcher makes a complete tree production. It is the only code that knows
// what production is.
type switcher interface {
	// current returns the generation that production resolves to and the
	// directory of its tree; 0 when production does not exist. The error
	// wraps errDangling or errForeign where that is the trouble.
	current() (n int, dir string, err error)
	// dir returns where the tree of generation n is, if it is kept.
	dir(n int) string
	// probe finds out whether a switch can work here.
	probe() error
	// ready prepares the tree at generations/.next-n, flushed but for its
	// name, for the switch: swap, or adopt.
	ready(n int) error
	// again prepares a tree that was production before. It is idempotent.
	again(n int) error
	// swap is the commit point: before it readers see the old tree, after it
	// the new one.
	swap(n int, first bool) error
	// sync makes the switch durable.
	sync() error
	// tidy finishes what comes after an exchange, and takes back what was made
	// ready and never switched. It is idempotent.
	tidy() error
	// adopt puts the ready tree n in the place of what stands at production,
	// which it moves, in the same atomic step, to the name aside.
	adopt(n int, aside string) error
}

var (
	errDangling = errors.New("production is missing or dangling")
	errForeign  = errors.New("production is not of this repository's making")
)

func foreign(path, format string, args ...any) error {
	if c, err := readClaim(path); err == nil && c.number > 0 {
		return another(path, format, args...) // never to be moved away: it is live
	}
	return &Error{Path: path, Fact: fmt.Sprintf(format, args...), Err: errForeign,
		Hint: "move it away, then run publish recover; or take it over with publish init --adopt in a new repository"}
}

// symlinkSwitch has production be a link into generations.
type symlinkSwitch struct {
	link, store string
	relative    bool                         // write a relative text into the link
	whose       func(string) (int, error)    // Repo.whose
	left        func(path string, err error) // is told what cannot be removed
}

func (s symlinkSwitch) current() (int, string, error) {
	fi, err := os.Lstat(s.link)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		what := "a file"
		if fi.IsDir() {
			what = "a directory"
		}
		return 0, "", foreign(s.link, "is %s, not a link that publish made", what)
	}
	dir, err := filepath.EvalSymlinks(s.link)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", &Error{Path: s.link, Err: errDangling, Hint: "run publish recover"}
	}
	if err != nil {
		return 0, "", err
	}
	// The resolved directory counts, whatever the link's text looks like.
	store, err := filepath.EvalSymlinks(s.store)
	if err != nil {
		return 0, "", err
	}
	n, ok := parseNumber(filepath.Base(dir))
	if !ok || filepath.Dir(dir) != store {
		return 0, "", foreign(s.link, "leads to %s, which is not a generation of this repository", dir)
	}
	switch id, err := s.whose(dir); {
	case err != nil:
		return 0, "", err
	case id != n:
		return 0, "", foreign(s.link, "leads to %s, which says that it is generation %d", dir, id)
	}
	return n, s.dir(n), nil
}

func (s symlinkSwitch) dir(n int) string { return filepath.Join(s.store, number(n)) }

func (s symlinkSwitch) probe() error { return nil }

// waiting is where the link is that becomes production: made before the switch,
// for a new name in a directory can take longer than all the rest of it. Where
// something has the name that cannot be removed, the next of them will do.
func (s symlinkSwitch) waiting() []string {
	first := filepath.Join(filepath.Dir(s.link), "."+filepath.Base(s.link)+".next")
	return []string{first, first + "-2", first + "-3", first + "-4", first + "-5"}
}

func (s symlinkSwitch) ready(n int) error {
	if err := durable.RenameNew(filepath.Join(s.store, nextPrefix+number(n)), s.dir(n)); err != nil {
		return err
	}
	if err := durable.SyncDir(s.store); err != nil {
		return err
	}
	return s.again(n)
}

func (s symlinkSwitch) again(n int) error {
	text, err := s.text(n)
	if err != nil {
		return err
	}
	// What a killed command left may lead elsewhere.
	if err := s.tidy(); err != nil {
		return err
	}
	for _, name := range s.waiting() {
		if err = durable.Symlink(text, name); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return &Error{Path: s.waiting()[0], Fact: "is in the way, and so are the names beside it: the next production waits under one of them", Hint: "move it away"}
}

// move renames the link to generation n that waits.
func (s symlinkSwitch) move(n int, to string, rename func(from, to string) error) error {
	text, err := s.text(n)
	if err != nil {
		return err
	}
	err = &fs.PathError{Op: "switch", Path: s.waiting()[0], Err: fs.ErrNotExist}
	for _, name := range s.waiting() {
		if have, readErr := os.Readlink(name); readErr != nil || have != text {
			continue
		}
		if err = rename(name, to); err == nil {
			break
		}
	}
	return err
}

func (s symlinkSwitch) text(n int) (string, error) {
	if !s.relative {
		return s.dir(n), nil
	}
	// Relative to where the link really is, so that it still leads there
	// when the repository is moved or copied as a whole.
	from, err := filepath.EvalSymlinks(filepath.Dir(s.link))
	if err != nil {
		return "", err
	}
	store, err := filepath.EvalSymlinks(s.store)
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, filepath.Join(store, number(n)))
}

func (s symlinkSwitch) swap(n int, first bool) error {
	if first {
		return s.move(n, s.link, durable.RenameNew) // fails if something stands there
	}
	// A hook may have taken its time since production was looked at.
	if _, _, err := s.current(); errors.Is(err, errForeign) {
		return err
	}
	return s.move(n, s.link, os.Rename)
}

func (s symlinkSwitch) sync() error { return durable.SyncDir(filepath.Dir(s.link)) }

func (s symlinkSwitch) tidy() error {
	for _, name := range s.waiting() {
		fi, err := os.Lstat(name)
		if err != nil || fi.Mode()&fs.ModeSymlink == 0 {
			continue // what is no link is none of ours
		}
		if err := os.Remove(name); err != nil {
			s.left(name, err)
		}
	}
	return nil
}

func (s symlinkSwitch) adopt(n int, aside string) error {
	if err := s.move(n, aside, os.Rename); err != nil {
		return err
	}
	return swapAside(aside, s.link)
}

// exchangeSwitch has production be a real directory, which a switch exchanges
// with the next one.
type exchangeSwitch struct {
	prod, store string
	whose       func(string) (int, error)    // Repo.whose
	left        func(path string, err error) // is told what cannot be removed
}

func (s exchangeSwitch) current() (int, string, error) {
	fi, err := os.Lstat(s.prod)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	if !fi.IsDir() {
		return 0, "", foreign(s.prod, "is not a directory, and the switch is rename")
	}
	n, err := s.whose(s.prod)
	if err != nil {
		return 0, "", err
	}
	if n == 0 {
		return 0, "", foreign(s.prod, "is a directory that publish did not make")
	}
	return n, s.prod, nil
}

func (s exchangeSwitch) dir(n int) string {
	if id, err := s.whose(s.prod); err == nil && id == n {
		return s.prod
	}
	return filepath.Join(s.store, number(n))
}

func (s exchangeSwitch) probe() error {
	if durable.MountPoint(s.prod) {
		return &Error{Kind: Usage, Path: s.prod, Fact: "is a mount point, which cannot be exchanged",
			Hint: "let production be a directory below it, or use switch: symlink with a production beside it"}
	}
	err := durable.ProbeExchange(s.store, filepath.Dir(s.prod), s.probePrefix())
	if errors.Is(err, durable.ErrUnsupported) {
		return &Error{Kind: Usage, Path: s.prod, Fact: "directories cannot be exchanged between it and the repository", Err: err,
			Hint: "put both on one mount, or use switch: symlink"}
	}
	return err
}

// probePrefix names the production, for several may lie side by side.
func (s exchangeSwitch) probePrefix() string { return ".publish-probe-" + filepath.Base(s.prod) + "-" }

func (s exchangeSwitch) ready(int) error { return durable.SyncDir(s.store) }

func (s exchangeSwitch) again(n int) error {
	next := filepath.Join(s.store, nextPrefix+number(n))
	if waits, err := s.whose(next); err == nil && waits == n {
		return nil // it was cut short
	}
	return durable.RenameNew(filepath.Join(s.store, number(n)), next)
}

func (s exchangeSwitch) swap(n int, first bool) error {
	next := filepath.Join(s.store, nextPrefix+number(n))
	if first {
		return durable.RenameNew(next, s.prod)
	}
	// Of what stands there the exchange tells nothing, so look at what it brought
	// back. It may have been put there since production was looked at.
	err := durable.Exchange(next, s.prod)
	if errors.Is(err, syscall.EXDEV) {
		// The probe's directories were new; this one may be of a lower layer.
		return &Error{Kind: Usage, Path: s.prod, Fact: "cannot be exchanged: it lies in a lower layer of an overlay, as in a container whose image holds it", Err: err,
			Hint: "copy the repository to a volume: cp -a"}
	}
	if err != nil {
		return err
	}
	if id, err := s.whose(next); id == 0 && (err == nil || errors.Is(err, errForeign)) {
		if err == nil {
			err = foreign(s.prod, "is a directory that publish did not make")
		}
		return errors.Join(err, durable.Exchange(next, s.prod), s.sync())
	}
	return nil
}

func (s exchangeSwitch) sync() error {
	if err := durable.SyncDir(filepath.Dir(s.prod)); err != nil {
		return err
	}
	return durable.SyncDir(s.store)
}

// tidy gives a tree that an exchange brought back its own number: it is the
// one whose identity is not the number that it waits under. If it is not this
// repository's, swap was killed before it saw that, and the exchange is undone.
func (s exchangeSwitch) tidy() error {
	for _, dir := range []string{s.store, filepath.Dir(s.prod)} {
		if err := durable.SweepProbes(dir, s.probePrefix(), s.left); err != nil {
			return err
		}
	}
	list, err := os.ReadDir(s.store)
	if err != nil {
		return err
	}
	for _, d := range list {
		waits, ok := parseNumber(strings.TrimPrefix(d.Name(), nextPrefix))
		if !ok || !strings.HasPrefix(d.Name(), nextPrefix) {
			continue
		}
		from := filepath.Join(s.store, d.Name())
		n, err := s.whose(from)
		if err != nil && !errors.Is(err, errForeign) {
			s.left(from, err)
			continue
		}
		if n == 0 {
			if now, err := s.whose(s.prod); err == nil && now == waits {
				if err := errors.Join(durable.Exchange(from, s.prod), s.sync()); err != nil {
					return err
				}
			}
		}
		if n == 0 || n == waits {
			continue // never switched: the sweep's business
		}
		if err := durable.RenameNew(from, filepath.Join(s.store, number(n))); err != nil {
			s.left(from, err) // it cannot be reverted to; no reason to stop
			continue
		}
		if err := durable.SyncDir(s.store); err != nil {
			return err
		}
	}
	return nil
}

func (s exchangeSwitch) adopt(n int, aside string) error {
	if err := durable.RenameNew(filepath.Join(s.store, nextPrefix+number(n)), aside); err != nil {
		return err
	}
	return swapAside(aside, s.prod)
}

// swapAside exchanges the new production, made under the name aside, with what
// stands at prod, and cleans up when that cannot be.
func swapAside(aside, prod string) error {
	if err := durable.SyncDir(filepath.Dir(aside)); err != nil {
		return err
	}
	err := durable.Exchange(aside, prod)
	if err != nil {
		_ = durable.RemoveAll(aside)
	}
	return err
}
