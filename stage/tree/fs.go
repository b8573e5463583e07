package tree

import (
	"io/fs"
	"os"
	"syscall"

	"example.com/publish/stage/catalog"
)

// FS is like root.FS(), for a tree that others write to. It opens only regular
// files and directories, and does not block on a pipe that has replaced a file.
func FS(root *os.Root) fs.FS { return files{root} }

// Contents returns a tree that others write to, in the form that formats read.
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

// Lstat is for [fs.ReadLinkFS].
func (f files) Lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrInvalid}
	}
	return f.root.Lstat(name)
}

// ReadLink is for [fs.ReadLinkFS].
func (f files) ReadLink(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return f.root.Readlink(name)
}
