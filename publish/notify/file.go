package notify

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/publish/stage/durable"
)

// File returns a receiver that appends a line for each notice to a file, durably. check
// returns an error if the file must not be written to.
func File(name, path string, check func(path string) error, events []string) *Receiver {
	return receiver(name, events, func(_ context.Context, m Message) error {
		if err := check(path); err != nil {
			return err
		}
		return appendLine(path, m.Body)
	}, "file", path)
}

// appendLine appends a line. What a full disk, or a kill, left of another one is ended
// first: so each line stands alone, and one that is not whole is told again.
func appendLine(path string, text []byte) (err error) {
	_, missing := os.Stat(path)
	f, err := durable.OpenLog(path, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	line := append(bytes.Clone(text), '\n')
	if size := fi.Size(); fi.Mode().IsRegular() && size > 0 && !endsLine(path, size) {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := f.Write(line); err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return nil // a pipe, a terminal
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if errors.Is(missing, fs.ErrNotExist) {
		durable.Give(path)
		return durable.SyncDir(filepath.Dir(path))
	}
	return nil
}

// endsLine reports whether a file of a size ends with a newline.
func endsLine(path string, size int64) bool {
	f, err := durable.OpenNamed(path)
	if err != nil {
		return true // it may be for writing only
	}
	defer f.Close()
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return err != nil || last[0] == '\n'
}
