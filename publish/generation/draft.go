package generation

import (
	"os"

	"example.com/publish/stage/durable"
)

// Draft is the next tree while it is made: a private directory of the store, on
// its file system. What a killed command leaves of it is found by its prefix.
type Draft struct {
	Dir string

	store *Store
}

// Draft begins a tree; prefix says who may sweep it: SnapshotPrefix or
// RevertPrefix. The directory is the caller's alone until the draft is sealed or
// discarded.
func (s *Store) Draft(prefix string) (*Draft, error) {
	dir, err := s.begin(prefix)
	if err != nil {
		return nil, err
	}
	return &Draft{Dir: dir, store: s}, nil
}

// Discard gives up a draft that was not sealed; after a switch there is nothing
// left at its name. It may be called again.
func (d *Draft) Discard() { d.store.end(d.Dir) }

// begin is where the directory of a draft comes from.
func (s *Store) begin(prefix string) (string, error) { return s.Scratch(prefix) }

// end is where the directory of a draft goes when its verb has failed.
func (s *Store) end(dir string) { _ = durable.RemoveAll(dir) } // else it is swept

// Scratch makes an empty private directory among the trees, on their file
// system.
func (s *Store) Scratch(prefix string) (string, error) {
	dir, err := durable.MkdirTemp(s.Trees, prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) // what a web server reads, whatever the umask
}
