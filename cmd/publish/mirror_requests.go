package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

// byFile explains to who is not the owner of the repository how to ask for images.
func byFile(m *mirror.Mirror, err error) error {
	hint := "ask the owner; mirror.requests in publish.yaml lets others ask by files"
	if dir := m.Config.Requests.DirectoryIn(m.Repo.Dir); dir != "" {
		hint = "put a request file into " + dir + ": publish help mirror says what it has"
	}
	return ownersOnly(m, err, "adds to the queue; nothing was added", hint)
}

// ownersOnly makes a refusal of an error that somebody else than the owner of the
// repository got.
func ownersOnly(m *mirror.Mirror, err error, what, hint string) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	fi, statErr := os.Stat(filepath.Join(m.Repo.Dir, ".publish"))
	if statErr != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || int(st.Uid) == os.Geteuid() {
		return err // something is wrong with the files
	}
	return &publish.Error{Kind: publish.Refused, Fact: "only the owner of the repository " + what, Hint: hint}
}
