//go:build !linux

package durable

import (
	"errors"
	"io"
)

// Each calls f for each name in the directory. It may miss names that are added or
// removed meanwhile, even if f removes them. So collect the names first, and remove
// them later.
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
			if err := f(Name{Text: []byte(d.Name()), Kind: kind, Regular: d.Type().IsRegular()}); err != nil {
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

// Exact returns false, because Each returns no inode numbers here.
func (l *Listing) Exact() bool { return false }

// Facts returns properties of the directory.
func (l *Listing) Facts() (Facts, error) { return l.facts() }

// MountedBelow returns "", because mounts are unknown here.
func MountedBelow(path string) string { return "" }
