package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// applying is the name of the directory below Incoming for documents that are
// being moved into place. See apply.
const applying = "apply"

// intent describes one document of an Apply. Its data is in the directory
// applying, in a file whose name is its number in the list. The file "intents"
// there has the list.
type intent struct {
	Path   string    `json:"path"`
	Remove bool      `json:"remove"`
	Before tree.Stat `json:"before"` // of the old document; zero if there was none
}

const intents = "intents"

// applyNames is the number of names for the directory applying. Another name is
// used if a directory with the first name cannot be removed.
const applyNames = 8

func applyName(i int) string {
	if i == 0 {
		return applying
	}
	return fmt.Sprint(applying, "-", i+1)
}

// maxIntents limits the size of the file intents, in bytes. That is enough for
// about 50,000 documents.
const maxIntents = 16 << 20

// Apply writes documents and updates their companions (see Follow). It reports
// removed companions to Warn. See apply for the rest.
func (s *Stage) Apply(docs []catalog.Document) error {
	docs, gone, err := follow(s.Dir, s.Format, docs)
	if err != nil {
		return err
	}
	if err := s.apply(docs); err != nil {
		return err
	}
	s.lost(gone)
	return nil
}

// apply writes documents in order, each atomically and durably. A document without
// data is removed. The caller holds the staging lock.
//
// A reader never sees a partly written document. But if the process is killed, or
// the power fails, between two documents, the index and a catalog could disagree
// forever. So apply first records what it is going to do:
//
//  1. all documents are written to a private directory and synced;
//  2. the directory is renamed to "apply", which is the commit point, and the new
//     name is synced;
//  3. each document is renamed into place, in order, and the directories are
//     synced;
//  4. "apply" is removed.
//
// After a kill before step 2, nothing has changed. After a later kill, the next
// holder of the staging lock continues with step 3 (see rollForward), unless
// another program has changed one of the documents meanwhile.
func (s *Stage) apply(docs []catalog.Document) error {
	if len(docs) == 0 {
		return nil
	}
	for _, d := range docs {
		dir, err := s.makeDir(filepath.Dir(join(s.Dir, d.Path)))
		if err != nil {
			return err
		}
		_ = dir.Close() // nothing was written to it
	}
	u, err := s.upload()
	if err != nil {
		return err
	}
	defer u.close()
	if len(docs) == 1 {
		return s.applyOne(u, docs[0])
	}
	if err := s.writeIntents(u, docs); err != nil {
		return err
	}
	for i := 0; ; i++ {
		err := u.parent.RenameNew(u.name, u.parent, applyName(i))
		if errors.Is(err, fs.ErrExist) && i < applyNames-1 {
			continue // an old directory, which is complete but could not be removed
		}
		if err != nil {
			return err
		}
		break
	}
	if err := u.parent.Sync(); err != nil {
		return err
	}
	return s.rollForward()
}

func (s *Stage) applyOne(u *upload, d catalog.Document) error {
	to, err := s.makeDir(filepath.Dir(join(s.Dir, d.Path)))
	if err != nil {
		return err
	}
	defer to.Close()
	if d.Data == nil {
		err = unlessMissing(to.Remove(path.Base(d.Path)))
	} else {
		err = s.writeOne(u, d.Data, to, path.Base(d.Path))
	}
	if err != nil {
		return err
	}
	return to.Sync()
}

func (s *Stage) writeOne(u *upload, data []byte, to *durable.Dir, name string) error {
	batch, err := durable.NewBatch(u.path())
	if err != nil {
		return err
	}
	defer batch.Close()
	if err := u.write(batch, "0", data); err != nil {
		return err
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	return move(u.dir, "0", to, name)
}

func (s *Stage) writeIntents(u *upload, docs []catalog.Document) error {
	batch, err := durable.NewBatch(u.path())
	if err != nil {
		return err
	}
	defer batch.Close()
	list := make([]intent, len(docs))
	for i, d := range docs {
		list[i] = intent{Path: d.Path, Remove: d.Data == nil}
		if list[i].Before, err = s.statOf(d.Path); err != nil {
			return err
		}
		if d.Data == nil {
			continue
		}
		if err := u.write(batch, strconv.Itoa(i), d.Data); err != nil {
			return err
		}
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := u.write(batch, intents, data); err != nil {
		return err
	}
	// The next holder of the lock may be another user of the group, and must be able to go on.
	if err := u.dir.Chmod(s.dirMode()); err != nil {
		return err
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	return u.dir.Sync()
}

// statOf returns the state of a document; the zero Stat if it does not exist.
func (s *Stage) statOf(p string) (tree.Stat, error) {
	fi, err := os.Lstat(join(s.Dir, p))
	if errors.Is(err, fs.ErrNotExist) {
		return tree.Stat{}, nil
	}
	if err != nil {
		return tree.Stat{}, err
	}
	return tree.StatOf(fi), nil
}

// rollForward performs the steps of apply from step 3 on, for the caller or for a
// writer that was killed. The caller holds the staging lock.
func (s *Stage) rollForward() error {
	for _, dir := range s.Uploads() {
		for i := range applyNames {
			if err := s.rollOne(filepath.Join(dir, applyName(i))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Stage) rollOne(apply string) error {
	switch err := realDir(apply); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil: // it is not a directory, so this program did not make it
		return s.endApply(apply)
	}
	list, waiting, err := s.readIntents(apply)
	if err != nil {
		return err
	}
	if waiting != nil {
		begun := len(waiting) < len(list)
		for _, i := range waiting {
			if err := s.putInPlace(apply, i, list[i]); err != nil {
				if !begun {
					// Nothing has changed yet, so undo the commit: the caller reports
					// a failure, and no later command may complete it.
					_ = s.endApply(apply)
				}
				return err
			}
			begun = true
		}
		// Sync the directories of all documents, including those that a killed writer renamed.
		dirs := map[string]bool{}
		for _, d := range list {
			dirs[filepath.Dir(join(s.Dir, d.Path))] = true
		}
		for d := range dirs {
			if err := durable.SyncDir(d); err != nil {
				return err
			}
		}
	}
	return s.endApply(apply)
}

// endApply removes the directory apply. It renames the directory first, so that a
// partly removed directory is never taken for an intent. If that is impossible, as
// in a lower layer of an overlay, it removes the list first. A directory that
// cannot be removed does no harm, because all its documents are in place.
func (s *Stage) endApply(apply string) error {
	left := func(name string, err error) {
		if err != nil && s.Left != nil {
			s.Left(filepath.Join(filepath.Dir(apply), name), err) // the next sweep tries again
		}
	}
	name := filepath.Base(apply)
	dir, err := s.openDir(filepath.Dir(apply))
	if err != nil {
		left(name, err)
		return nil
	}
	defer dir.Close()
	pid := os.Getpid()
	gone := fmt.Sprintf("%s%d.%s.applied", here(), pid, started(pid))
	if err := dir.Rename(name, dir, gone); err != nil {
		gone = name
		if own, err := s.openDir(apply); err == nil {
			_ = own.Remove(intents)
			_ = own.Close() // nothing was written to it
		}
	}
	left(gone, dir.RemoveAll(gone))
	return nil
}

// readIntents reads the list of documents. waiting has the numbers of those that
// are not in place yet. It is nil if the list is not valid, or if another program
// has changed one of these documents since, because its version is newer.
func (s *Stage) readIntents(apply string) (list []intent, waiting []int, err error) {
	data, err := durable.ReadFile(filepath.Join(apply, intents), maxIntents)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, durable.ErrNotRegular) ||
		errors.Is(err, durable.ErrTooLong) ||
		err == nil && json.Unmarshal(data, &list) != nil {
		return nil, nil, nil // this program did not write it
	}
	if err != nil {
		return nil, nil, err
	}
	waiting = []int{}
	for i, d := range list {
		if clean, _, ok := catalog.Clean(d.Path); !ok || clean != d.Path {
			return nil, nil, nil
		}
		now, err := s.statOf(d.Path)
		if err != nil {
			return nil, nil, err
		}
		if d.Remove {
			if now.Ino == 0 {
				continue
			}
		} else if fi, err := os.Lstat(filepath.Join(apply, strconv.Itoa(i))); errors.Is(err, fs.ErrPermission) {
			return nil, nil, nil
		} else if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, nil, err
		} else if !fi.Mode().IsRegular() {
			return nil, nil, nil
		}
		if !now.Same(d.Before, false) {
			return nil, nil, nil
		}
		waiting = append(waiting, i)
	}
	return list, waiting, nil
}

func (s *Stage) putInPlace(apply string, i int, d intent) error {
	to, err := s.makeDir(filepath.Dir(join(s.Dir, d.Path)))
	if err != nil {
		return err
	}
	defer to.Close()
	if d.Remove {
		return to.Remove(path.Base(d.Path))
	}
	from, err := s.openDir(apply)
	if err != nil {
		return err
	}
	defer from.Close()
	return move(from, strconv.Itoa(i), to, path.Base(d.Path))
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// realDir returns an error unless dir is a directory and not a link.
func realDir(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: errors.New("is not a directory, and a link is not followed")}
	}
	return nil
}

// openDir opens a directory of staging. It does not follow links, because files
// would then be written outside.
func (s *Stage) openDir(dir string) (*durable.Dir, error) {
	rel, err := filepath.Rel(s.Dir, dir)
	if err != nil {
		return nil, err
	}
	return durable.OpenBelow(s.Dir, rel)
}

// makeDir is like openDir, but makes missing directories, durably.
func (s *Stage) makeDir(dir string) (*durable.Dir, error) {
	rel, err := filepath.Rel(s.Dir, dir)
	if err != nil {
		return nil, err
	}
	return durable.MakeBelow(s.Dir, rel, s.dirMode(), true)
}

// folder keeps the last directory open, because consecutive paths are often in the
// same one.
type folder struct {
	open func(dir string) (*durable.Dir, error)
	path string
	dir  *durable.Dir
}

func (f *folder) at(path string) (*durable.Dir, error) {
	if f.dir != nil && f.path == path {
		return f.dir, nil
	}
	f.close()
	d, err := f.open(path)
	if err == nil {
		f.path, f.dir = path, d
	}
	return d, err
}

func (f *folder) close() {
	if f.dir != nil {
		_ = f.dir.Close() // the error does not matter: names become durable by a sync
	}
	f.dir = nil
}

// dirMode returns the mode for new directories below staging. It is the mode of
// staging itself, so that a group that can write to staging can also write there.
func (s *Stage) dirMode() fs.FileMode {
	fi, err := os.Stat(s.Dir)
	if err != nil {
		return 0o755
	}
	return fi.Mode().Perm() | fi.Mode()&(fs.ModeSetgid|fs.ModeSticky)
}
