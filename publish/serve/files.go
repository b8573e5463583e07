package serve

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// maxLinks is how many links one request follows inside a tree.
const maxLinks = 8

// target is what stands at a path of a view.
type target struct {
	path   string // where it stands, after links
	doc    *document
	row    tree.Row // of a file that is no document; its path is "" for none
	folder bool
}

// steady reports whether the answer is the same before and after a switch: production
// keeps content, with the same bytes, for the grace window.
func (t target) steady() bool { return t.row.Role == catalog.Content }

// file reports whether it is a file.
func (t target) file() bool { return t.doc != nil || t.row.Path != "" }

// look finds what stands at a path; "" is the root. Links are followed inside the tree.
func (v *view) look(p string) target {
	for range maxLinks {
		if d := v.documents[p]; d != nil {
			return target{path: p, doc: d}
		}
		row, ok := v.find(p)
		switch {
		case ok && row.Role != catalog.Link:
			return target{path: p, row: row}
		case !ok && (p == "" || v.has(p+"/")):
			return target{path: p, folder: true}
		}
		if p, ok = v.follow(p); !ok {
			return target{}
		}
	}
	return target{}
}

// follow replaces the first link on the way to a path by what it says. ok is false if
// there is none, or if it leads out of the tree.
func (v *view) follow(p string) (to string, ok bool) {
	for end := 0; end < len(p); end++ {
		n := strings.IndexByte(p[end:], '/')
		if end += n; n < 0 {
			end = len(p)
		}
		row, found := v.find(p[:end])
		if !found || row.Role != catalog.Link {
			continue
		}
		text, err := v.Readlink(p[:end])
		if err != nil || path.IsAbs(text) {
			return "", false
		}
		to = path.Join(path.Dir(p[:end]), text, p[end:])
		if to == "." {
			return "", true
		}
		return to, to != ".." && !strings.HasPrefix(to, "../")
	}
	return "", false
}

// find returns the row of a path, own or carried.
func (v *view) find(p string) (tree.Row, bool) {
	if i, ok := slices.BinarySearchFunc(v.Own, p, ownAt); ok {
		return v.Own[i], true
	}
	if i, ok := slices.BinarySearchFunc(v.Carried, p, carriedAt); ok {
		return v.Carried[i].Row, true
	}
	return tree.Row{}, false
}

func ownAt(r tree.Row, p string) int { return cmp.Compare(r.Path, p) }

func carriedAt(c generation.Carried, p string) int { return cmp.Compare(c.Path, p) }

// has reports whether the path of a row begins with prefix.
func (v *view) has(prefix string) bool {
	i, _ := slices.BinarySearchFunc(v.Own, prefix, ownAt)
	j, _ := slices.BinarySearchFunc(v.Carried, prefix, carriedAt)
	return i < len(v.Own) && strings.HasPrefix(v.Own[i].Path, prefix) ||
		j < len(v.Carried) && strings.HasPrefix(v.Carried[j].Path, prefix)
}

// files answers with what production has at a path. p is clean and relative; "" is the
// root. slash says that a slash follows it.
func (s *Server) files(w http.ResponseWriter, r *http.Request, p string, slash bool) {
	v, t, err := s.pick(r.Context(), p)
	if err != nil {
		s.unavailable(w)
		return
	}
	defer v.release()
	if p == "" && s.hasPages(false) && !v.indexOf("").file() {
		s.pages(w, r, "", false)
		return
	}
	if err = s.answer(w, r, v, t, p, slash); err == nil {
		return
	}
	// A gc or a revoke may have deleted the file since the view was made: what does
	// production have there now?
	clear(w.Header())
	now, again := s.keeper.fresh(r.Context())
	if again != nil {
		s.unavailable(w)
		return
	}
	defer now.release()
	if now != v {
		if err = s.answer(w, r, now, now.look(p), p, slash); err == nil {
			return
		}
		clear(w.Header())
	}
	s.broken(w, now, p, err)
}

// pick holds a view for a path, and finds what stands there.
func (s *Server) pick(ctx context.Context, p string) (*view, target, error) {
	if v := s.keeper.hold(); v != nil {
		if t := v.look(p); t.steady() {
			return v, t, nil
		}
		v.release()
	}
	v, err := s.keeper.fresh(ctx)
	if err != nil {
		return nil, target{}, err
	}
	return v, v.look(p), nil
}

// answer answers with a target of a view. If it returns an error, nothing was written.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v *view, t target, p string, slash bool) error {
	switch {
	case t.folder:
		return s.folder(w, r, v, t.path, p, slash)
	case slash || !t.file():
		w.Header()["Publish-Generation"] = v.number
		s.notFound(w)
		return nil
	case t.doc != nil:
		return s.document(w, r, v, t.doc)
	}
	return s.content(w, r, v, t.row)
}

// document answers with a document.
func (s *Server) document(w http.ResponseWriter, r *http.Request, v *view, d *document) error {
	about(w, kindIndex)
	h := w.Header()
	s.describe(h, v, d.head, mutableFile)
	data, length := d.data, d.head.length
	var p *packed
	if d.packable() {
		h["Vary"] = varyCoding
		if p = d.choose(r); p != nil {
			data, length = p.data, p.length
			h["Etag"], h["Content-Encoding"] = p.tag, p.coding
		}
	}
	if quick(w, r, data, length, d.modified) {
		return nil
	}
	if p != nil {
		sendPacked(w, r, d.mtime, p)
		return nil
	}
	body, done, err := d.reader(v.View)
	if err != nil {
		return err
	}
	defer done.Close()
	send(w, r, d.mtime, body)
	return nil
}

// quick answers with bytes whose headers are set, or says that the client has them. data
// is nil if they are not in memory. It returns false if the answer needs more than that:
// what net/http does for any file takes longer than the rest of a small answer.
//
// It does not offer parts, which clients get all the same: with more than eight headers the
// map of them grows, and so does the copy that net/http makes of it, which takes a tenth of
// the processor time of a small answer.
func quick(w http.ResponseWriter, r *http.Request, data []byte, length, modified []string) bool {
	h := w.Header()
	if !only(r, "If-None-Match") {
		return false
	}
	if matches(r.Header["If-None-Match"], h["Etag"][0]) {
		delete(h, "Content-Type")
		delete(h, "Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	if data == nil {
		return false
	}
	h["Content-Length"] = length
	if modified != nil {
		h["Last-Modified"] = modified
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
	return true
}

// content answers with a file that is not a document.
func (s *Server) content(w http.ResponseWriter, r *http.Request, v *view, row tree.Row) error {
	head := headersOf(row)
	var p *packed
	packable := row.Role == catalog.Mutable && row.Size <= maxText && worthPacking(row, head)
	if packable {
		p = s.text(r, row)
	}
	return s.file(w, r, v, row, kindContent, p, func(h http.Header) {
		s.describe(h, v, head, classOf(row))
		if packable {
			h["Vary"] = varyCoding
		}
		if p != nil {
			h["Etag"], h["Content-Encoding"] = p.tag, p.coding
		}
	})
}

// file answers with a file of a view, or with its compressed form p, nil for none. describe
// sets its headers. If it returns an error, nothing was written, and no header set.
func (s *Server) file(
	w http.ResponseWriter, r *http.Request, v *view, row tree.Row, k kind, p *packed, describe func(http.Header),
) error {
	c, err := s.openFile(r.Context(), v, row)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.ready(r, row.Size, describe); err != nil {
		return err
	}
	var whole []byte
	if p == nil && row.Size <= maxWhole && r.Method == http.MethodGet && only(r, "") {
		buffer := wholes.Get().(*[maxWhole]byte)
		if r.ProtoMajor < 2 { // else a frame of an answer that was given up may still need it
			defer wholes.Put(buffer)
		}
		whole = buffer[:row.Size]
		if _, err := io.ReadFull(c, whole); err != nil {
			return err
		}
	}
	s.reached(c)
	about(w, k)
	if !c.own {
		s.count.carried.Inc()
	}
	h := w.Header()
	describe(h)
	switch {
	case whole != nil:
		if row.Role == catalog.Content { // somebody may look whether a download can be resumed
			h["Accept-Ranges"] = acceptBytes
		}
		quick(w, r, whole, []string{strconv.FormatInt(row.Size, 10)}, c.date)
	case p != nil && quick(w, r, p.data, p.length, c.date):
	case p != nil:
		sendPacked(w, r, c.Modified, p)
	default:
		send(w, r, c.Modified, c.ReadSeekCloser)
		s.ended(w, r, v, row.Path, c)
	}
	return nil
}

// maxWhole is up to how many bytes a file is read and answered in one go. A larger one is
// sent by the kernel, which takes more system calls, but no memory while a client is slow.
const maxWhole = 16 << 10

// wholes are buffers for that.
var wholes = sync.Pool{New: func() any { return new([maxWhole]byte) }}

// describe sets the headers that all answers with a file have.
func (s *Server) describe(h http.Header, v *view, head headers, c class) {
	h["Etag"], h["Content-Type"] = head.tag, head.kind
	h["Cache-Control"], h["Publish-Generation"] = s.cache[c], v.number
	h["X-Content-Type-Options"] = noSniff
}

// conditions are the headers that make an answer depend on what the client has, or
// that ask for a part.
var conditions = []string{"Range", "If-Range", "If-Match", "If-Unmodified-Since", "If-Modified-Since", "If-None-Match"}

// only reports whether a request has no condition but this one, or one that this one
// overrules.
func only(r *http.Request, name string) bool {
	for _, c := range conditions {
		if _, has := r.Header[c]; has && c != name &&
			(c != "If-Modified-Since" || len(r.Header["If-None-Match"]) == 0) {
			return false
		}
	}
	return true
}

// matches reports whether an If-None-Match has the tag.
func matches(header []string, tag string) bool {
	for _, line := range header {
		for part := range strings.SplitSeq(line, ",") {
			part = strings.TrimSpace(part)
			if part == "*" || strings.TrimPrefix(part, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// indexOf is the page that stands for the folder p.
func (v *view) indexOf(p string) target { return v.look(path.Join(p, "index.html")) }

// folder answers with the folder p, by whatever path it was asked: its own page, or a list of what it holds.
func (s *Server) folder(w http.ResponseWriter, r *http.Request, v *view, p, asked string, slash bool) error {
	if asked != "" && !slash {
		// Relative: a proxy may serve the tree below a prefix.
		s.moved(w, "./"+escape(path.Base(asked))+"/")
		return nil
	}
	if t := v.indexOf(p); t.file() {
		return s.answer(w, r, v, t, p, false)
	}
	if !s.config.Browse {
		s.notFound(w)
		return nil
	}
	return s.listing(w, r, v, p)
}

// formatTime is a time as headers have it.
func formatTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
