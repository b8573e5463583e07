package serve

import (
	"net/http"
	"path"
	"strconv"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Headers that many answers share. Nobody writes to them.
var (
	noSniff     = []string{"nosniff"}
	acceptBytes = []string{"bytes"}
	varyCoding  = []string{"Accept-Encoding"}
)

// headers are those of a file that are the same in each answer, as net/http wants them:
// making them anew costs more than the rest of a small answer.
type headers struct{ tag, kind, length []string }

func headersOf(row tree.Row) headers {
	return headers{tag: []string{`"` + row.SHA256 + `"`}, kind: []string{catalog.MediaType(row.Path)},
		length: []string{strconv.FormatInt(row.Size, 10)}}
}

// compressible reports whether bytes of a type are worth compressing.
func compressible(kind string) bool {
	kind, _, _ = strings.Cut(kind, ";")
	switch kind {
	case "application/json", "application/yaml", "application/xml", "image/svg+xml":
		return true
	}
	return strings.HasPrefix(kind, "text/")
}

// class is for how long clients may keep an answer.
type class int

const (
	mutableFile class = iota // they ask each time
	contentFile              // it keeps its bytes for the grace window
	digestFile               // its name is its digest: it never changes
)

// classOf is the class of a row. A path that is named by the digest of its own bytes
// cannot stand for others.
func classOf(row tree.Row) class {
	switch {
	case row.Role != catalog.Content:
		return mutableFile
	case strings.Contains(path.Base(row.Path), row.SHA256):
		return digestFile
	}
	return contentFile
}

// cacheControl is that header for each class. A client may keep content for so many
// seconds.
func cacheControl(seconds int) [3][]string {
	return [3][]string{{"no-cache"}, {"max-age=" + strconv.Itoa(seconds)}, {"max-age=31536000, immutable"}}
}

// escape is a name as one part of a URL's path.
func escape(name string) string { return (&urlPath{Path: name}).EscapedPath() }

// moved answers with another path. The next generation may have something else there.
func (s *Server) moved(w http.ResponseWriter, location string) {
	h := w.Header()
	h["Location"], h["Cache-Control"], h["Content-Length"] = []string{location}, s.cache[mutableFile], []string{"0"}
	w.WriteHeader(http.StatusMovedPermanently)
}
