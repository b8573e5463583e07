package tree

import (
	"io/fs"
	"os"
	"syscall"
)

// FS is like root.FS(), for a tree that others write to. It opens only regular
// files and directories, and does not block on a pipe that has replaced a file.
func FS(root *os.Root) fs.FS { return files{root, NewOpener(root)} }

type files struct {
	root *os.Root
	in   *Opener // the directory that it keeps is closed with the garbage
}

func (f files) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	var file *os.File
	err := f.in.do(name, func(in *os.Root, base string) (err error) {
		file, err = in.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		return err
	})
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
	var fi fs.FileInfo
	err := f.in.do(name, func(in *os.Root, base string) (err error) {
		fi, err = in.Lstat(base)
		return err
	})
	return fi, err
}

// ReadLink is for [fs.ReadLinkFS].
func (f files) ReadLink(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return f.root.Readlink(name)
}
