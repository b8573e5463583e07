package serve

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// Pages are made from the files in the folder pages. They need nothing else: no script,
// no image, no font. The stylesheet stands in each page, and the policy of each page
// allows only that, by its hash.

//go:embed pages
var pageFiles embed.FS

var (
	style  = mustRead("pages/style.css")
	policy = []string{"default-src 'none'; style-src 'sha256-" + hashOf(style) + "'; form-action 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'"}
	htmlType   = []string{"text/html; charset=utf-8"}
	noReferrer = []string{"same-origin"}
)

func mustRead(name string) string {
	data, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func hashOf(text string) string {
	h := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(h[:])
}

// frame is what a template gets: what is the same on all pages, and the page itself.
type frame struct {
	Title string
	Here  string // the name of the page
	Host  string
	Root  string // a relative link to the root of the server, such as "../"; "" at the root
	All   bool   // names of people, messages, and what is staged are shown
	Files bool   // the tree can be had at Root
	Nav   []section
	JSON  string // a link to the page as JSON; "" for none
	Now   time.Time
	About string // the program
	Page  any

	Generation int
}

// Style is the stylesheet as an element.
func (frame) Style() template.HTML { return template.HTML("<style>" + style + "</style>") }

// When is a time for people, with the distance from now.
func (f frame) When(t time.Time) moment {
	return moment{t.UTC().Format(time.RFC3339), t.UTC().Format("2 Jan 2006, 15:04"), publish.Distance(f.Now, t)}
}

// moment is a time as a page shows it.
type moment struct{ ISO, Text, Distance string }

// templates are the pages by name. Only a server parses them.
var templates = sync.OnceValue(func() map[string]*template.Template {
	base := template.New("").Funcs(template.FuncMap{
		"size":    func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
		"number":  func(n int) string { return humanize.Comma(int64(n)) },
		"changes": changed, "version": shortVersion,
		"count": counted, "name": named, "short": short, "href": href, "join": strings.Join,
		"slice": func(n int, list []string) []string { return list[:min(n, len(list))] },
	})
	base = template.Must(base.ParseFS(pageFiles, "pages/frame.html", "pages/parts.html"))
	out := map[string]*template.Template{}
	for _, name := range []string{"status", "images", "history", "diff", "carried", "findings", queueName,
		"listing"} {
		out[name] = template.Must(template.Must(base.Clone()).ParseFS(pageFiles, "pages/"+name+".html"))
	}
	return out
})

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(int64(n)) + " " + noun
}

// changed sums up what a switch or a diff changes.
func changed(added, removed, changed int) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{added, "added"}, {removed, "removed"}, {changed, "changed"}} {
		if c.n > 0 {
			parts = append(parts, humanize.Comma(int64(c.n))+" "+c.what)
		}
	}
	if len(parts) == 0 {
		return "no version changed"
	}
	return strings.Join(parts, ", ")
}

// shortVersion is a version; the beginning of one that is a digest.
func shortVersion(v string) string {
	if digest, ok := strings.CutPrefix(v, "@"); ok {
		return "@" + short(digest)
	}
	return v
}

// named is a name from outside: what nobody would see in it is written out.
func named(s string) string {
	if s == "" {
		return ""
	}
	return catalog.Show(s)
}

// short is the beginning of a fingerprint or of a digest.
func short(fingerprint string) string {
	algorithm, digits, ok := strings.Cut(fingerprint, ":")
	if !ok {
		return fingerprint[:min(12, len(fingerprint))]
	}
	return algorithm + ":" + digits[:min(12, len(digits))]
}

// href is a path below root as a relative link. It begins with a dot, so that no name is
// taken for a scheme.
func href(root, path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = escape(p)
	}
	if root == "" {
		root = "./"
	}
	return root + strings.Join(parts, "/")
}

// body is an answer that was made whole before its first byte is sent.
type body struct {
	data   []byte
	zipped bool // data is compressed by gzip
}

// page answers with a page for people.
func (s *Server) page(w http.ResponseWriter, r *http.Request, v *view, name string, f frame) error {
	var buf bytes.Buffer
	if err := templates()[name].ExecuteTemplate(&buf, "frame", f); err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"], h["Content-Security-Policy"], h["Referrer-Policy"] = htmlType, policy, noReferrer
	s.made(w, r, v, body{data: buf.Bytes()})
	return nil
}

// made answers with a body whose type is set. Its tag is made of its bytes.
func (s *Server) made(w http.ResponseWriter, r *http.Request, v *view, b body) {
	about(w, kindPage)
	h := w.Header()
	h["Cache-Control"], h["X-Content-Type-Options"], h["Publish-Generation"] = s.cache[mutableFile], noSniff, v.number
	sum := sha256.Sum256(b.data)
	tag := hex.EncodeToString(sum[:])
	unzip := false
	if b.zipped {
		h["Vary"] = varyCoding
		if unzip = !accepts(r.Header["Accept-Encoding"], "gzip"); !unzip {
			tag += "-gzip"
			h["Content-Encoding"] = []string{"gzip"}
		}
	}
	h["Etag"] = []string{`"` + tag + `"`}
	if matches(r.Header["If-None-Match"], h["Etag"][0]) {
		delete(h, "Content-Type")
		delete(h, "Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if !unzip {
		h["Content-Length"] = []string{strconv.Itoa(len(b.data))}
	}
	w.WriteHeader(http.StatusOK)
	switch {
	case r.Method == http.MethodHead:
	case unzip:
		if z, err := gzip.NewReader(bytes.NewReader(b.data)); err == nil {
			_, _ = io.Copy(w, z)
		}
	default:
		_, _ = w.Write(b.data)
	}
}

// objectBody is a value as the commands print it with --json.
func objectBody(v any) (body, error) {
	var buf bytes.Buffer
	err := encode(&buf, v)
	return body{data: buf.Bytes()}, err
}

// listBody is a list as JSON: each line is one that a command prints with --json.
func listBody[T any](list []T) (body, error) {
	var buf bytes.Buffer
	l := lines{w: &buf}
	for _, v := range list {
		if err := l.add(v); err != nil {
			return body{}, err
		}
	}
	l.end()
	return body{data: buf.Bytes()}, nil
}

// lines writes a list as JSON, with one value a line.
type lines struct {
	w   io.Writer
	n   int
	buf bytes.Buffer
}

func (l *lines) add(v any) error {
	l.buf.Reset()
	if err := encode(&l.buf, v); err != nil {
		return err
	}
	sep := ",\n"
	if l.n == 0 {
		sep = "[\n"
	}
	l.n++
	_, err := fmt.Fprint(l.w, sep, strings.TrimSuffix(l.buf.String(), "\n"))
	return err
}

func (l *lines) end() {
	if l.n == 0 {
		fmt.Fprint(l.w, "[")
	}
	fmt.Fprint(l.w, "\n]\n")
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
