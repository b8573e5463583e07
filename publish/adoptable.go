package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// AdoptionNeed is the disk space that an adoption needs in the repository. Sizes are
// in bytes.
type AdoptionNeed struct {
	Files  int   `json:"files"`      // of the tree
	Bytes  int64 `json:"bytes"`      // to copy; 0 if the file system shares the data
	Shared bool  `json:"shared"`     // the file system shares the data of copies
	Free   int64 `json:"free_bytes"` // -1: unknown
}

// AdoptionNeed reports what an adoption of the tree at dir will copy, before it copies
// anything. If the disk cannot hold that, it returns the need together with the error.
func (r *Repo) AdoptionNeed(ctx context.Context, dir string) (*AdoptionNeed, error) {
	if r.shared != nil {
		return nil, notAdopted(r.Production())
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, &Error{Kind: Usage, Err: err}
	}
	entries, err := tree.Walk(ctx, dir)
	if err != nil {
		return nil, err
	}
	need := &AdoptionNeed{Free: -1}
	staging := r.path("staging")
	apart := !sameDevice(staging, r.store.Trees)
	var own, staged int64
	probe := ""
	for _, e := range entries {
		if e.Kind != tree.File || r.format.Class(e.Path) == catalog.InProgress {
			continue
		}
		need.Files++
		path := filepath.Join(dir, filepath.FromSlash(e.Path))
		bytes := onDisk(path, e.Stat.Size)
		own += bytes
		// Staging gets links, except for files that builds rewrite in place.
		if apart || !r.Stage.Share || r.format.Class(e.Path) != catalog.ItemLike {
			staged += bytes
		}
		if probe == "" && bytes > 0 {
			probe = path
		}
	}
	if need.Shared = probe != "" && shares(r.store, probe); need.Shared {
		own = 0
		if !apart {
			staged = 0
		}
	}
	need.Bytes = own + staged
	if apart { // staging and the generations are on two disks: check each
		if err := r.fits(staging, staged, nil); err != nil {
			return need, err
		}
		need.Bytes = own
	}
	return need, r.fits(r.store.Trees, need.Bytes, need)
}

// fits returns an error if the disk at path has less than the given free space. It
// records the free space in need, unless need is nil.
func (r *Repo) fits(path string, bytes int64, need *AdoptionNeed) error {
	free, err := r.free(path)
	if err != nil {
		return nil // the free space is unknown: try
	}
	if need != nil {
		need.Free = free
	}
	if bytes <= free {
		return nil
	}
	return &Error{Path: path, Fact: fmt.Sprintf("%s must be copied here, but only %s are free; nothing was copied",
		humanize.IBytes(uint64(bytes)), humanize.IBytes(uint64(max(free, 0)))),
		Hint: "free some space, or make the repository on a larger file system; on the tree's own file system " +
			"nothing is copied if it supports reflinks"}
}

// shares reports whether the store can share the data of a file (reflink). It tries it
// with a temporary file.
func shares(store *generation.Store, path string) bool {
	src, err := durable.OpenNamed(path)
	if err != nil {
		return false
	}
	defer src.Close()
	dir, err := store.Scratch(generation.SnapshotPrefix)
	if err != nil {
		return false
	}
	defer durable.RemoveAll(dir)
	dst, err := durable.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return false
	}
	defer dst.Close()
	return durable.Clone(dst, src) == nil
}

// onDisk returns how many bytes of a file take space on the disk. Holes do not.
func onDisk(path string, size int64) int64 {
	fi, err := os.Lstat(path)
	if err != nil {
		return size
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return min(size, st.Blocks*512)
	}
	return size
}

func sameDevice(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	if errA != nil || errB != nil {
		return true
	}
	sa, okA := fa.Sys().(*syscall.Stat_t)
	sb, okB := fb.Sys().(*syscall.Stat_t)
	return !okA || !okB || sa.Dev == sb.Dev
}
