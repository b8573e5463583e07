package generation

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// A web server compares modification times in whole seconds, and answers 304
// (Not Modified) for a file that is not newer than the client's copy. So each
// switch keeps a rule for every path that production serves before and after it.
// If the bytes are the same, the path keeps its time. If they differ, its time
// rises by at least one second.
//
// Only the production lock keeps what production serves from changing: a revoke
// can switch while a promote still copies and hashes. So the times that a tree
// gets while it is made may be wrong in the end. Times corrects them.

// Times sets the modification times in a tree before it becomes production.
type Times struct {
	Live  Files  // the tree that is production until then
	Dir   string // the tree
	Tmp   string // a private directory on the same file system; may be Dir, if that is private
	Now   time.Time
	Lost  time.Time      // stands for the time of a live file that is missing; if zero, such a file is ignored
	Batch *durable.Batch // collects the files to sync
}

// settle sets the times of the files of the tree. rows are the rows of the tree,
// and live lists what production serves. Unchanged files are not touched, in
// general; see keep. A file with several hard links is replaced by a copy, because
// the other names share its time. was is the manifest that the times of the tree
// were compared with when it was made; nil if that was live.
func (t *Times) settle(ctx context.Context, rows []tree.Row, live, was *Manifest) error {
	// All rows: even after its window has ended, a row is served until a gc deletes it.
	served := live.Rows()
	links := map[string]bool{} // paths with a link in one tree, and not the same link in the other
	alone := func(row tree.Row) {
		if row.Role == catalog.Link {
			links[row.Path] = true
		}
	}
	left := served
	for _, row := range rows {
		for ; len(left) > 0 && left[0].Path < row.Path; left = left[1:] {
			alone(left[0])
		}
		if len(left) == 0 || left[0].Path != row.Path {
			alone(row)
			continue
		}
		var err error
		switch old := left[0]; {
		case old.SHA256 == row.SHA256 && old.Role == row.Role:
			err = t.keep(ctx, row, live, was)
		case old.Role == catalog.Link || row.Role == catalog.Link:
			links[row.Path] = true
		case old.SHA256 != row.SHA256:
			err = t.Rise(ctx, row.Path, row.Path)
		}
		if err != nil {
			return err
		}
		left = left[1:]
	}
	for _, row := range left {
		alone(row)
	}
	return t.behindLinks(ctx, links, rows, served)
}

// keep gives a file with unchanged bytes the time of the live file. Usually the
// file has that time already. There are two exceptions: another generation was
// live when the tree was made; or the path is carried in live, so that staging
// had dropped it and got it again.
func (t *Times) keep(ctx context.Context, row tree.Row, live, was *Manifest) error {
	if row.Role == catalog.Link {
		return nil
	}
	if _, carried := findCarried(live.Carried, row.Path); !carried {
		if was == nil {
			return nil
		}
		if old, ok := tree.Find(was.Own, row.Path); ok && old.SHA256 == row.SHA256 {
			return nil
		}
	}
	old, err := t.Live.Stat(row.Path)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	fi, err := os.Lstat(t.join(row.Path))
	if err != nil || os.SameFile(fi, old) || fi.ModTime().Equal(old.ModTime()) {
		return err
	}
	return t.set(ctx, row.Path, fi, old.ModTime())
}

// Rise makes the file at path newer than the file that the live tree has at the
// path was, unless it is newer already.
func (t *Times) Rise(ctx context.Context, path, was string) error {
	last := t.Lost
	switch old, err := t.Live.Stat(was); {
	case err == nil:
		last = old.ModTime()
	case !isGone(err):
		return err
	case last.IsZero():
		return nil
	}
	fi, err := os.Lstat(t.join(path))
	if isGone(err) {
		return nil // a file of a kept tree may be missing: it was revoked, or somebody removed it
	}
	if err != nil || fi.ModTime().Unix() > last.Unix() {
		return err
	}
	return t.set(ctx, path, fi, latest(t.Now, last.Add(time.Second)))
}

// Set gives the file at path a time.
func (t *Times) Set(ctx context.Context, path string, at time.Time) error {
	fi, err := os.Lstat(t.join(path))
	if err != nil {
		return err
	}
	return t.set(ctx, path, fi, at)
}

// set sets the time of a regular file, and adds it to the batch.
func (t *Times) set(ctx context.Context, path string, fi fs.FileInfo, at time.Time) error {
	full := t.join(path)
	if !fi.Mode().IsRegular() {
		return nil
	}
	if tree.StatOf(fi).Links > 1 {
		if err := t.separate(ctx, path, fi); err != nil {
			return err
		}
		t.Batch.Add(filepath.Dir(full))
	}
	if err := os.Chtimes(full, time.Time{}, at); err != nil {
		return err
	}
	t.Batch.Add(full)
	return nil
}

// separate replaces one of the hard links of a file by a copy.
func (t *Times) separate(ctx context.Context, path string, fi fs.FileInfo) error {
	src, err := tree.OpenSource(t.Dir)
	if err != nil {
		return err
	}
	defer src.Close()
	own, err := durable.NewBatch(t.Tmp) // not t.Batch: the temporary name will be gone when that is flushed
	if err != nil {
		return err
	}
	defer own.Close()
	tmp := filepath.Join(t.Tmp, copyName)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cloner := tree.Cloner{Dst: t.Tmp, Batch: own}
	done, err := cloner.Run(ctx, []tree.Op{{Path: copyName, From: src, Name: path, How: tree.Copy,
		Mode: fi.Mode().Perm()}})
	if err == nil {
		err = done[0].Err
	}
	if err == nil {
		err = own.Flush()
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, t.join(path))
}

// copyName is the name of a copy while it is made.
const copyName = ".publish-copy"

// behindLinks makes files newer that are served through a link, if the link now
// leads to other content. Clients ask for the path of the link, so the rule of
// Times applies to that path.
func (t *Times) behindLinks(ctx context.Context, links map[string]bool, rows, served []tree.Row) error {
	if len(links) == 0 {
		return nil
	}
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for link := range links {
		is, ok := follow(root, link)
		if !ok {
			continue
		}
		was, ok := follow(t.Live, link)
		if !ok {
			continue
		}
		if err := t.behind(ctx, is, was, rows, served); err != nil {
			return err
		}
	}
	return nil
}

// behind compares what a link leads to, a file or a directory, with what was
// served under the same path.
func (t *Times) behind(ctx context.Context, is, was string, rows, served []tree.Row) error {
	differ := func(path, old string) error {
		row, ok := tree.Find(rows, path)
		before, had := tree.Find(served, old)
		if !ok || !had || row.SHA256 == before.SHA256 || row.Role == catalog.Link {
			return nil
		}
		return t.Rise(ctx, path, old)
	}
	if err := differ(is, was); err != nil {
		return err
	}
	i, _ := tree.Search(rows, is+"/")
	for ; i < len(rows); i++ {
		rest, ok := strings.CutPrefix(rows[i].Path, is+"/")
		if !ok {
			break
		}
		if err := differ(rows[i].Path, was+"/"+rest); err != nil {
			return err
		}
	}
	return nil
}

func (t *Times) join(p string) string { return join(t.Dir, p) }

func join(dir, p string) string { return filepath.Join(dir, filepath.FromSlash(p)) }

// links are the parts of Files that follow needs.
type links interface {
	Lstat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
}

// follow resolves the links in a path of a tree. It returns false if the path
// leads to nothing, or out of the tree.
func follow(in links, p string) (string, bool) {
	at, rest := ".", p
	for hops := 0; rest != ""; {
		var name string
		if name, rest, _ = strings.Cut(rest, "/"); name == "" || name == "." {
			continue
		}
		if name == ".." {
			if at == "." {
				return "", false
			}
			at = path.Dir(at) // correct, because at has no links in it: they are resolved
			continue
		}
		next := path.Join(at, name)
		fi, err := in.Lstat(next)
		if err != nil || rest != "" && !fi.IsDir() && fi.Mode()&fs.ModeSymlink == 0 {
			return "", false
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		text, err := in.Readlink(next)
		if hops++; err != nil || hops > maxLinks || path.IsAbs(text) {
			return "", false
		}
		rest = text + "/" + rest
	}
	return at, at != "."
}

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// latest returns the latest of some times.
func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

// Freshen sets the times in a kept tree that becomes production again as it is:
// that of generation n, at dir. last is the generation that was production before;
// its tree may be gone. lost is the time of the newest line of the history, and
// stands for the time of a file of last that is missing; now is not before lost.
// If one of the manifests is missing, it is unknown what was served, and the times
// stay.
func (s *Store) Freshen(ctx context.Context, n int, dir string, last int, now, lost time.Time) error {
	was, err := s.Manifest(last)
	if err != nil {
		return nil
	}
	m, err := s.Manifest(n)
	if err != nil {
		return nil
	}
	live, err := OpenInside(s.Dir(last))
	if err != nil {
		return err
	}
	defer live.Close()
	t := &Times{Live: live, Dir: dir, Now: now, Lost: lost}
	if t.Tmp, err = s.Scratch(RevertPrefix); err != nil {
		return err
	}
	defer durable.RemoveAll(t.Tmp)
	if t.Batch, err = durable.NewBatch(dir); err != nil {
		return err
	}
	defer t.Batch.Close()
	if err := t.settle(ctx, m.Rows(), was, nil); err != nil {
		return err
	}
	if server := catalog.Serving(s.Format); server != nil {
		for row := range m.All() { // they may hold other contents, which rows do not tell
			if server.Serves(row.Path) {
				if err := t.Rise(ctx, row.Path, row.Path); err != nil {
					return err
				}
			}
		}
	}
	return t.Batch.Flush()
}
