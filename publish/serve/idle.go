package serve

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/tree"
)

const (
	// keepOpen is how long after it was opened a file may be used again. Whoever removes or
	// replaces a file of production by hand waits no longer than that.
	keepOpen = time.Second
	// maxIdle is how many files stay open that no request reads.
	maxIdle = 256
)

// idleFiles are files of a view that stay open for a moment after their request, each for
// one other request at a time: opening a file and looking at it takes more than half of what
// a small part of it does. The zero value keeps none.
//
// A file is kept only if production itself has it, and is used again only while production
// is that generation: what is revoked leaves production by a switch, and gc deletes nothing
// that production has itself. After a switch all are closed, so that the space of what is
// deleted is free.
type idleFiles struct {
	mu    sync.Mutex
	limit idleLimit
	by    map[string][]*file // by path
	count int
}

// idleLimit is how many files stay open, and how long after they were opened. The zero value
// is none.
type idleLimit struct {
	most int
	age  time.Duration
}

// mostIdle is the limit of a server: few of the files that it may have open.
func mostIdle() idleLimit {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return idleLimit{}
	}
	return idleLimit{int(min(uint64(limit.Cur)/16, maxIdle)), keepOpen}
}

// take returns an open file that nobody else uses; nil if there is none.
func (i *idleFiles) take(path string) *file {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := i.by[path]
	if len(list) == 0 {
		return nil
	}
	last := len(list) - 1
	f := list[last]
	list[last] = nil
	if i.by[path], i.count = list[:last], i.count-1; last == 0 {
		delete(i.by, path)
	}
	if time.Since(f.opened) > i.limit.age {
		_ = f.from.Close()
		return nil
	}
	return f
}

// put gets a file back.
func (i *idleFiles) put(f *file) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if f.spoiled || i.count >= i.limit.most {
		return f.from.Close()
	}
	i.by[f.path] = append(i.by[f.path], f)
	i.count++
	return nil
}

// keep sets the limit from now on. None closes all.
func (i *idleFiles) keep(limit idleLimit) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.limit = limit; i.by == nil {
		i.by = map[string][]*file{}
	}
	if limit.most == 0 {
		i.shut(func(*file) bool { return true })
	}
}

// sweep closes files that were opened too long ago to be used again.
func (i *idleFiles) sweep() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.shut(func(f *file) bool { return time.Since(f.opened) > i.limit.age })
}

// drop closes all, for who needs descriptors. It reports whether there were any.
func (i *idleFiles) drop() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	before := i.count
	i.shut(func(*file) bool { return true })
	return before > 0
}

// shut closes files. The caller holds mu.
func (i *idleFiles) shut(which func(*file) bool) {
	for path, list := range i.by {
		var stay []*file
		for _, f := range list {
			if which(f) {
				_ = f.from.Close()
				i.count--
			} else {
				stay = append(stay, f)
			}
		}
		if i.by[path] = stay; len(stay) == 0 {
			delete(i.by, path)
		}
	}
}

// openFile opens the file of a row for a request, or takes one that is open.
func (s *Server) openFile(ctx context.Context, v *view, row tree.Row) (opened, error) {
	if f := v.idle.take(row.Path); f != nil {
		if s.keeper.live(v) {
			return f.content(), nil
		}
		_ = f.from.Close()
	}
	c, err := v.content(ctx, row)
	if exhausted(err) && s.keeper.dropIdle() {
		c, err = v.content(ctx, row)
	}
	if from, here := c.ReadSeekCloser.(*os.File); here && c.own && !v.kept {
		f := &file{from: from, idle: &v.idle, path: row.Path, size: row.Size, modified: c.Modified, date: c.date,
			opened: time.Now()}
		c = f.content()
	}
	return c, err
}

// content is the file as a request reads it.
func (f *file) content() opened {
	f.at, f.sent = 0, false
	return opened{Content: generation.Content{ReadSeekCloser: f, Modified: f.modified}, date: f.date, own: true}
}

// file is a file of a view, for one request at a time. Its size is known, so that finding
// out costs no system call, and its own position moves only when the kernel is to send it.
type file struct {
	from     *os.File
	idle     *idleFiles
	path     string
	size     int64
	modified time.Time
	date     []string // modified as a header
	opened   time.Time
	spoiled  bool // it is not what was opened: too short, or unreadable

	at   int64 // the position
	sent bool  // the kernel has sent a part: where it is now, only from knows
}

// Read implements [io.Reader].
func (f *file) Read(p []byte) (n int, err error) {
	if f.sent {
		n, err = f.from.Read(p)
	} else {
		n, err = f.from.ReadAt(p, f.at)
		f.at += int64(n)
	}
	f.spoiled = f.spoiled || err != nil
	return n, err
}

// Seek implements [io.Seeker].
func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch {
	case whence == io.SeekEnd:
		offset += f.size
	case whence == io.SeekCurrent && f.sent:
		at, err := f.from.Seek(0, io.SeekCurrent)
		if err != nil {
			return 0, err
		}
		offset += at
	case whence == io.SeekCurrent:
		offset += f.at
	}
	if offset < 0 {
		return 0, syscall.EINVAL
	}
	f.at, f.sent = offset, false
	return offset, nil
}

// SyscallConn is for the package net, which has the kernel send the file from its position.
func (f *file) SyscallConn() (syscall.RawConn, error) {
	if !f.sent {
		if _, err := f.from.Seek(f.at, io.SeekStart); err != nil {
			return nil, err
		}
		f.sent = true
	}
	return f.from.SyscallConn()
}

// Close gives the file back.
func (f *file) Close() error { return f.idle.put(f) }
