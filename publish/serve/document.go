package serve

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

const (
	// inMemory is up to how many bytes a document is kept in memory. The kernel sends a
	// larger one from its file.
	inMemory = 64 << 10
	// maxOpen is how many larger documents of a view are kept open. The others are opened
	// when they are asked for.
	maxOpen = 256
)

// document is a file that says what the tree holds, with the bytes that the manifest
// promises: they were hashed. Views of several generations share it while it is the same.
// All requests share its bytes and its headers.
type document struct {
	row      tree.Row
	mtime    time.Time
	modified []string // mtime as a header
	data     []byte   // whole, if it is small; else nil
	file     *os.File // else: open for as long as a view has it, so no gc takes it from readers
	head     headers
	packs    packs

	views atomic.Int32 // that have it
}

// openDocument reads a document of a view and compares it with its row. keep says whether
// a large one stays open.
func openDocument(v *generation.View, row tree.Row, keep bool) (d *document, err error) {
	f, err := v.Open(row)
	if err != nil {
		return nil, err
	}
	d = &document{row: row, file: f}
	defer func() {
		if err != nil || !keep || d.data != nil {
			_ = f.Close()
			d.file = nil
		}
	}()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d.mtime = fi.ModTime()
	d.modified = []string{formatTime(d.mtime)}
	h := sha256.New()
	if row.Size <= inMemory {
		if d.data, err = durable.ReadBounded(f, inMemory); err != nil {
			return nil, err
		}
		h.Write(d.data)
	} else if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != row.SHA256 {
		return nil, fmt.Errorf("%s: its bytes are not those of the manifest", row.Path)
	}
	d.head = headersOf(row)
	return d, nil
}

// reader returns a reader over the document for one request, and what to close after it.
func (d *document) reader(v *generation.View) (io.ReadSeeker, io.Closer, error) {
	if d.data != nil {
		return bytes.NewReader(d.data), nopCloser{}, nil
	}
	if d.file != nil {
		if f, err := reopen(d.file); err == nil {
			return f, f, nil
		}
		return io.NewSectionReader(d.file, 0, d.row.Size), nopCloser{}, nil
	}
	f, err := v.Open(d.row)
	return f, f, err
}

// reopen opens the file behind f again, with a position of its own, so that the kernel can
// send it. It works where the system shows open files as paths.
func reopen(f *os.File) (*os.File, error) {
	return durable.OpenNamed(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

func (d *document) leave() {
	if d.views.Add(-1) == 0 && d.file != nil {
		_ = d.file.Close()
	}
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
