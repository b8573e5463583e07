package site

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// exchange makes production a real directory. A switch exchanges it with the next
// tree, which waits in the store. After that the old tree has the name under which
// the next one waited, until Tidy renames it.
type exchange struct{ local }

// Exchange makes a site where production is a real directory, for web servers
// and mounts that do not follow links.
func Exchange(p Place) Site { return exchange{local{p}} }

func (s exchange) Name() string { return "rename" }
func (s exchange) Guarantee() Guarantee {
	return Guarantee{Whole: true, Local: true, NamedOnceLive: true}
}
func (s exchange) Dir(int) string { return s.Production }

func (s exchange) Live(context.Context) (int, error) {
	fi, err := os.Lstat(s.Production)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !fi.IsDir() {
		return 0, s.foreign(s.Production, "is not a directory, and the switch is rename")
	}
	n, err := s.Trees.Whose(s.Production)
	if err == nil && n == 0 {
		err = s.foreign(s.Production, "is a directory that publish did not make")
	}
	return n, err
}

func (s exchange) Probe(context.Context) error {
	if durable.MountPoint(s.Production) {
		return &fault.Error{Kind: fault.Usage, Path: s.Production, Fact: "is a mount point, which cannot be exchanged",
			Hint: "let production be a directory below it, or use switch: symlink with a production beside it"}
	}
	err := durable.ProbeExchange(s.Store, filepath.Dir(s.Production), probePrefix(s.Production))
	if errors.Is(err, durable.ErrUnsupported) {
		return &fault.Error{Kind: fault.Usage, Path: s.Production, Err: err,
			Fact: "directories cannot be exchanged between it and the repository",
			Hint: "put both on one mount, or use switch: symlink"}
	}
	return err
}

// Prepare renames a tree that was production before, so that it waits like a new one.
func (s exchange) Prepare(_ context.Context, next, _ *generation.Tree) error {
	n := next.Generation
	if waits, err := s.Trees.Whose(s.waiting(n)); err == nil && waits == n {
		return durable.SyncDir(s.Store)
	}
	return durable.RenameNew(s.kept(n), s.waiting(n))
}

func (s exchange) Switch(ctx context.Context, from, to int) error {
	next := s.waiting(to)
	if from == 0 {
		return durable.RenameNew(next, s.Production)
	}
	// Somebody may have put another tree at production since it was last looked at.
	// The exchange does not report that, so look at the tree that it brought back.
	err := durable.Exchange(next, s.Production)
	if errors.Is(err, syscall.EXDEV) {
		// The probe used new directories; this one may be in a lower layer of an overlay.
		return &fault.Error{Kind: fault.Usage, Path: s.Production,
			Fact: "cannot be exchanged: it lies in a lower layer of an overlay, as in a container whose image holds it",
			Hint: "copy the repository to a volume: cp -a", Err: err}
	}
	if err != nil {
		return err
	}
	if id, err := s.Trees.Whose(next); id == 0 && (err == nil || errors.Is(err, ErrForeign)) {
		if err == nil {
			err = s.foreign(s.Production, "is a directory that publish did not make")
		}
		return errors.Join(err, durable.Exchange(next, s.Production), s.Settle(ctx))
	}
	return nil
}

func (s exchange) Settle(context.Context) error {
	if err := durable.SyncDir(filepath.Dir(s.Production)); err != nil {
		return err
	}
	return durable.SyncDir(s.Store)
}

// Tidy gives a tree that an exchange brought back its own number. It recognizes such a
// tree because its identity differs from the number in its name. If the tree is not
// this repository's, Switch was killed before it noticed that, and Tidy undoes the
// exchange.
func (s exchange) Tidy(ctx context.Context) error {
	for _, dir := range []string{s.Store, filepath.Dir(s.Production)} {
		if err := durable.SweepProbes(dir, probePrefix(s.Production), s.Left); err != nil {
			return err
		}
	}
	list, err := os.ReadDir(s.Store)
	if err != nil {
		return err
	}
	for _, d := range list {
		waits, ok := generation.ParseNumber(strings.TrimPrefix(d.Name(), generation.NextPrefix))
		if !ok || !strings.HasPrefix(d.Name(), generation.NextPrefix) {
			continue
		}
		from := filepath.Join(s.Store, d.Name())
		n, err := s.Trees.Whose(from)
		if err != nil && !errors.Is(err, ErrForeign) {
			s.Left(from, err)
			continue
		}
		if n == 0 {
			if now, err := s.Trees.Whose(s.Production); err == nil && now == waits {
				if err := errors.Join(durable.Exchange(from, s.Production), s.Settle(ctx)); err != nil {
					return err
				}
			}
		}
		if n == 0 || n == waits {
			continue // never switched: the sweep removes it
		}
		if err := durable.RenameNew(from, s.kept(n)); err != nil {
			s.Left(from, err) // it cannot be reverted to, but that must not stop the command
			continue
		}
		if err := durable.SyncDir(s.Store); err != nil {
			return err
		}
	}
	return nil
}

func (s exchange) Replace(ctx context.Context, n int, live string) (string, error) {
	bring := func(aside string) error { return durable.RenameNew(s.waiting(n), aside) }
	return s.replace(live, func() error { return s.Switch(ctx, 0, n) }, bring)
}
