package tree

import (
	"io/fs"
	"os"
	"syscall"

	"example.com/publish/stage/catalog"
)

// FS is root.FS() for a tree that others write to: what is neither a regular
// file nor a directory is not opened, and a pipe that took a file's place a
// moment ago does not block.
func FS(root *os.Root) fs.FS { return files{root} }

// Contents is what a format reads of a tree that others write to.
func Contents(root *os.Root) catalog.Source { return catalog.Files(FS(root)) }

type files struct{ root *os.Root }

func (f files) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := file.Stat()
	if err == nil && !fi.Mode().IsRegular() && !fi.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Lstat makes it a [fs.ReadLinkFS].
func (f files) Lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrInvalid}
	}
	return f.root.Lstat(name)
}

// ReadLink makes it a [fs.ReadLinkFS].
func (f files) ReadLink(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return f.root.Readlink(name)
}
