//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// hashes is this program as a contender, under the name of its first argument: it
// computes the hashes that validating and staging images need, and
// nothing else. Those are the two files of each version, each by itself and one
// after the other. args are a metadata file and a root, or a directory with many.
func hashes(args []string) error {
	if len(args) == 2 {
		return hashTogether(args[0], args[1])
	}
	list, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	work, failed := make(chan string), make([]error, runtime.NumCPU())
	var all sync.WaitGroup
	for i := range failed {
		all.Go(func() {
			for base := range work {
				failed[i] = errors.Join(failed[i], hashVersion(base))
			}
		})
	}
	for _, d := range list {
		if base, ok := strings.CutSuffix(d.Name(), ".squashfs"); ok {
			work <- filepath.Join(args[0], base)
		}
	}
	close(work)
	all.Wait()
	return errors.Join(failed...)
}

// hashVersion computes both hashes of the root from one reading.
func hashVersion(base string) error {
	both := sha256.New()
	return errors.Join(
		hashFile(base+".incus.tar.xz", io.MultiWriter(sha256.New(), both)),
		hashFile(base+".squashfs", io.MultiWriter(sha256.New(), both)))
}

func hashFile(path string, to io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}

// hashTogether computes the two hashes of one large root at the same time.
func hashTogether(metadata, root string) error {
	both := sha256.New()
	if err := hashFile(metadata, io.MultiWriter(sha256.New(), both)); err != nil {
		return err
	}
	failed := make([]error, 2)
	var all sync.WaitGroup
	for i, h := range []hash.Hash{sha256.New(), both} {
		all.Go(func() { failed[i] = hashFile(root, h) })
	}
	all.Wait()
	return errors.Join(failed...)
}
