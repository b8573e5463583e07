package serve

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"example.com/publish/stage/tree"
)

// minPacked is from how many bytes on a document is compressed.
const minPacked = 1 << 10

// packed is a document in one coding. Each has a tag of its own: the bytes differ.
type packed struct {
	coding []string
	data   []byte
	tag    []string
	length []string
}

// packs are the compressed forms of a document; none before they are made.
type packs struct {
	once sync.Once
	list atomic.Pointer[[]packed]
}

// pack compresses the documents of each new view beside the serving, until ctx ends. What
// is not compressed yet goes out as it is.
func (s *Server) pack(ctx context.Context) {
	for {
		changed := s.keeper.attempt()
		if v := s.keeper.hold(); v != nil {
			for _, d := range v.documents {
				if ctx.Err() != nil {
					break
				}
				if err := d.pack(v, s.config.Compress); err != nil {
					s.log.Error("a document cannot be compressed", "path", d.row.Path, "error", err)
				}
			}
			v.release()
			// Two views were in memory, and what the new one was made of. A server runs for weeks.
			debug.FreeOSMemory()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// pack makes the compressed forms of a document, once, also if several views share it.
func (d *document) pack(v *view, names []string) error {
	if !d.packable() {
		return nil
	}
	var err error
	d.packs.once.Do(func() { err = d.packAll(v, names) })
	return err
}

func (d *document) packAll(v *view, names []string) error {
	var list []packed
	for _, name := range names {
		r, done, err := d.reader(v.View)
		if err != nil {
			return err
		}
		list, err = appendPacked(list, name, d.row, r)
		_ = done.Close()
		if err != nil {
			return err
		}
	}
	d.packs.list.Store(&list)
	return nil
}

// appendPacked appends a compressed form of a row, whose bytes r has, if that is smaller.
func appendPacked(list []packed, name string, row tree.Row, r io.Reader) ([]packed, error) {
	data, err := compress(name, r)
	if err != nil || int64(len(data)) >= row.Size {
		return list, err
	}
	return append(list, packed{coding: []string{name}, data: data, tag: []string{`"` + row.SHA256 + "-" + name + `"`},
		length: []string{strconv.Itoa(len(data))}}), nil
}

// compress returns what r holds in a coding.
func compress(name string, r io.Reader) ([]byte, error) {
	var buf bytes.Buffer
	var w io.WriteCloser
	var err error
	switch name {
	case "gzip":
		w, err = gzip.NewWriterLevel(&buf, gzip.DefaultCompression)
	case "zstd":
		w, err = zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
	}
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, r); err != nil {
		return nil, err
	}
	err = w.Close()
	return bytes.Clone(buf.Bytes()), err
}

// packable reports whether the document is worth compressing.
func (d *document) packable() bool {
	return worthPacking(d.row, d.head)
}

func worthPacking(row tree.Row, head headers) bool {
	return row.Size >= minPacked && compressible(head.kind[0])
}

// choose returns the compressed form of a document that a request likes best, of several
// the first in the order of the configuration; nil for the document as it is. Parts are
// always parts of that.
func (d *document) choose(r *http.Request) *packed {
	list := d.packs.list.Load()
	if list == nil {
		return nil
	}
	return choose(*list, r)
}

func choose(list []packed, r *http.Request) *packed {
	accept := r.Header["Accept-Encoding"]
	if len(accept) == 0 || len(r.Header["Range"]) > 0 {
		return nil
	}
	var best *packed
	most := 0.0
	for i := range list {
		if as, _ := weight(accept, list[i].coding[0]); as > most {
			best, most = &list[i], as
		}
	}
	if as, named := weight(accept, "identity"); named && as > most {
		return nil
	}
	return best
}

// accepts reports whether a client takes a coding.
func accepts(header []string, coding string) bool {
	as, _ := weight(header, coding)
	return as > 0
}

// weight is how much a client likes a coding, from 0 (not at all) to 1; named says that
// Accept-Encoding names it, and not only *.
func weight(header []string, coding string) (as float64, named bool) {
	for _, line := range header {
		for part := range strings.SplitSeq(line, ",") {
			name, parameter, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "x-gzip" {
				name = "gzip"
			}
			switch name {
			case coding:
				return quality(parameter), true
			case "*":
				as = quality(parameter)
			}
		}
	}
	return as, false
}

// quality is the weight that the parameter of a coding gives: 1 without one, and 0 if it
// cannot be read.
func quality(s string) float64 {
	name, value, ok := strings.Cut(strings.TrimSpace(s), "=")
	if !ok || strings.ToLower(strings.TrimSpace(name)) != "q" {
		return 1
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(q > 0) {
		return 0
	}
	return min(q, 1)
}
