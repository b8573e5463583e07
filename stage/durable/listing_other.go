//go:build !linux

package durable

import (
	"errors"
	"io"
)

// Each calls f for each name in the directory, from the first one on. A name
// that comes or goes meanwhile may be missed, and so may one that is removed by
// f: gather first, then remove.
func (l *Listing) Each(f func(Name) error) error {
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for {
		list, err := l.f.ReadDir(256)
		for _, d := range list {
			kind := Leaf
			if d.IsDir() {
				kind = Folder
			}
			if err := f(Name{Text: []byte(d.Name()), Kind: kind}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Exact is false: Each reports no inode numbers here.
func (l *Listing) Exact() bool { return false }

// Facts looks at the directory.
func (l *Listing) Facts() (Facts, error) { return l.facts() }

// MountedBelow is "": here mounts are not known.
func MountedBelow(path string) string { return "" }
