package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

type urlPath = url.URL

// maxPath is how long the path of a request may be, in bytes.
const maxPath = 8 << 10

// Server answers requests from one repository. Its handlers may be used by any number of
// listeners.
type Server struct {
	Version string // of the program, for the metrics
	Mirror  Mirror // nil: there is no page of its queue

	repo   *publish.Repo
	config publish.ServeConfig
	log    *slog.Logger
	keeper *keeper
	kept   *kept
	pull   catalog.Puller // nil: the format has no tags, and its trees are files
	memory *memory[remembered, *manifest]
	texts  *memory[string, []packed] // by sha256; see texts.go
	toPack chan tree.Row             // a text that somebody asked for, to be compressed
	cache  [3][]string               // Cache-Control of each class
	conns  *connections
	count  *counters
	certs  atomic.Pointer[certificates]
	access *accessLog
	intake *intake // nil: nobody may ask for images
	behind proxies
	ending context.Context // is done when the server is about to end: whoever waits stops
	end    context.CancelFunc
	away   atomic.Bool // the object store did not answer the last request for content
	computed
}

// New makes a server. It answers 503 until Run has opened production.
func New(repo *publish.Repo, log *slog.Logger) *Server {
	s := &Server{config: repo.Config.Serve, log: log, keeper: newKeeper(repo, log)}
	s.repo = s.keeper.repo
	s.ending, s.end = context.WithCancel(context.Background())
	s.kept = &kept{open: s.openKept}
	s.pull, _ = catalog.As[catalog.Puller](repo.Format())
	s.memory = newMemory[remembered, *manifest](maxMemory)
	s.texts, s.toPack = newMemory[string, []packed](maxTexts), make(chan tree.Row, maxAsked)
	s.cache = cacheControl(s.maxAge())
	s.count = s.newCounters()
	s.computed = newComputed(func() time.Time { return s.keeper.now() })
	limits := s.config.Limits
	s.conns = &connections{all: limits.Connections, perClient: limits.PerClient, rejected: s.reject,
		open: map[net.Conn]*connection{}, by: map[string]int{}}
	s.keeper.took = func(result string, d time.Duration) {
		s.count.reloads[result].Inc()
		s.count.build.Observe(d.Seconds())
	}
	s.behind, _ = s.config.Proxies() // they were checked with the rest of the configuration
	return s
}

// maxAge is for how many seconds clients may keep content: never longer than production
// does.
func (s *Server) maxAge() int {
	return int(time.Duration(min(s.config.Cache.Content, s.repo.Config.Grace)).Seconds())
}

// Keep follows production until ctx ends.
func (s *Server) Keep(ctx context.Context) { s.keeper.keep(ctx) }

// Reload looks at production now.
func (s *Server) Reload() { s.keeper.poke() }

// Public is the handler of the public listeners.
func (s *Server) Public() http.Handler { return s.handler(s.public, s.asks) }

// Admin is the handler of the listener for operators.
func (s *Server) Admin() http.Handler { return s.handler(s.admin, nil) }

// route is who answers a request whose path is checked. slash says that a slash follows
// the path.
type route func(w http.ResponseWriter, r *http.Request, p string, slash bool)

// handler checks requests before a route, and logs them after it. asks, which may be nil,
// answers those with another method than the rest of a server has, and reports whether it
// did.
func (s *Server) handler(to route, asks func(w http.ResponseWriter, r *http.Request, p string, slash bool) bool,
) http.Handler {
	stall, live := time.Duration(s.config.Limits.StallTimeout), s.keeper.number
	return http.HandlerFunc(func(inner http.ResponseWriter, r *http.Request) {
		defer s.panicked(r) // declared first, so that the request is counted before it
		start := time.Now()
		w := newWriter(inner, stall)
		w.head, w.plain, w.live = r.Method == http.MethodHead, r.TLS == nil, live
		began(r)
		s.count.inFlight.Inc()
		defer func() {
			s.count.inFlight.Dec()
			s.count.count(w, start)
			if s.access != nil {
				s.access.line(w, r, s.behind.client(r), start)
			}
		}()
		if r.ContentLength != 0 { // nobody reads it: the connection ends with the answer
			_ = w.control.SetReadDeadline(start.Add(time.Duration(s.config.Limits.HeaderTimeout)))
			w.Header()["Connection"] = []string{"close"}
		}
		p, slash, status := cleanPath(r)
		switch {
		case status != 0:
			s.reject(rejectedPath)
			code := errInvalidName.code
			if status == http.StatusNotFound {
				code = errName.code
			}
			s.refusal(w, r, &apiError{status, code, strings.ToLower(http.StatusText(status))})
		case asks != nil && asks(w, r, p, slash):
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			s.reject(rejectedMethod)
			w.Header()["Allow"] = []string{"GET, HEAD"}
			s.refusal(w, r, errMethod)
		default:
			to(w, asking(r), p, slash)
		}
		if w.short(r) {
			panic(http.ErrAbortHandler) // it is counted and logged; net/http cuts the connection or the stream
		}
	})
}

// panicked logs the panic of a request, and passes it on to net/http, which cuts the
// connection. net/http would log it among what clients do wrong, which nobody sees.
func (s *Server) panicked(r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler { // that one only cuts the connection
		s.log.Error("a request ended in a panic", "method", r.Method, "uri", r.RequestURI, "panic", p,
			"stack", string(debug.Stack()))
	}
	panic(p)
}

// refusal answers a request that no route gets, in the form of what it asked.
func (s *Server) refusal(w http.ResponseWriter, r *http.Request, e *apiError) {
	if s.pull != nil && isRegistry(strings.TrimPrefix(r.URL.Path, "/")) {
		refuse(w, r, e)
		return
	}
	text(w, e.status, e.fact)
}

func (s *Server) reject(reason string) { s.count.rejected[reason].Inc() }

func (s *Server) public(w http.ResponseWriter, r *http.Request, p string, slash bool) {
	switch {
	case p == "-" || strings.HasPrefix(p, "-/"):
		s.own(w, r, p, slash, false)
	case s.pull != nil && isRegistry(p):
		s.registry(w, r, p, slash)
	case s.pull != nil && p == "" && s.hasPages(false):
		s.pages(w, r, "", false)
	case s.pull != nil:
		s.notFound(w) // clients ask by names, and files could tell them something else
	default:
		if at, ok := pinned(p); ok {
			s.pinned(w, r, at, slash)
			return
		}
		s.files(w, r, p, slash)
	}
}

func (s *Server) admin(w http.ResponseWriter, r *http.Request, p string, slash bool) {
	if p == "metrics" {
		s.metrics().ServeHTTP(w, r)
		return
	}
	s.own(w, r, p, slash, true)
}

// own answers what is not of the tree: below /-/, and on the admin listener also at the
// root.
func (s *Server) own(w http.ResponseWriter, r *http.Request, p string, slash, admin bool) {
	name := strings.TrimPrefix(p, "-/")
	switch {
	case p == "-" && !slash && s.hasPages(admin):
		s.moved(w, "./-/")
	case p == "-":
		s.pages(w, r, "", admin)
	case name != "" && slash:
		s.notFound(w)
	case name == "healthz":
		s.healthz(w)
	case name == "readyz":
		s.readyz(w, r, admin)
	default:
		s.pages(w, r, name, admin)
	}
}

// cleanPath returns the path of a request, relative to the tree, and whether a slash
// follows it. status is 0, or the answer to a path that nothing in a tree can have: one
// that leads somewhere else than it says is refused, not corrected.
func cleanPath(r *http.Request) (p string, slash bool, status int) {
	if len(r.URL.Path) > maxPath || len(r.URL.RawPath) > 3*maxPath {
		return "", false, http.StatusRequestURITooLong
	}
	raw := strings.ToLower(r.URL.RawPath) // is empty if the path needs no special escapes
	if strings.Contains(raw, "%2f") || strings.Contains(raw, "%5c") {
		return "", false, http.StatusBadRequest
	}
	p, rooted := strings.CutPrefix(r.URL.Path, "/")
	if !rooted {
		return "", false, http.StatusBadRequest
	}
	if p == "" {
		return "", true, 0
	}
	p, slash = strings.CutSuffix(p, "/")
	clean, _, ok := catalog.Clean(p)
	if strings.Contains(p, `\`) || !ok || clean != p {
		return "", false, http.StatusBadRequest
	}
	for part := range strings.SplitSeq(p, "/") {
		if catalog.Reserved(part) {
			return "", false, http.StatusNotFound
		}
	}
	return p, slash, 0
}

// unavailable answers if there is no view.
func (s *Server) unavailable(w http.ResponseWriter) {
	s.reject(rejectedNoView)
	w.Header()["Retry-After"] = []string{"1"}
	text(w, http.StatusServiceUnavailable, "production is not ready; try again")
}

// notFound answers if there is nothing at a path.
func (s *Server) notFound(w http.ResponseWriter) { text(w, http.StatusNotFound, "not found") }

// broken answers if a file of a view cannot be opened: it was deleted, or is damaged.
func (s *Server) broken(w http.ResponseWriter, v *view, p string, err error) {
	w.Header()["Publish-Generation"] = v.number
	switch {
	case gone(err):
		s.notFound(w)
		return
	case exhausted(err):
		s.overloaded(w)
		return
	case s.unreached(err):
		s.unavailableContent(w)
		return
	case isOther(err):
		s.bad(v, p, err)
		text(w, http.StatusBadGateway, errWrong.fact)
		return
	}
	s.log.Error("a file of production cannot be read", "generation", v.Generation, "path", p, "error", err)
	text(w, http.StatusInternalServerError, "this file cannot be read")
}

// exhausted reports whether an error says that this process, or the machine, can open no more
// files. That says nothing of the file, and ends by itself.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// overloaded answers if no more files can be opened.
func (s *Server) overloaded(w http.ResponseWriter) {
	s.reject(rejectedExhausted)
	w.Header()["Retry-After"] = []string{"1"}
	text(w, http.StatusServiceUnavailable, errExhausted.fact)
}

// text answers with a line for people.
func text(w http.ResponseWriter, status int, line string) {
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"] = []string{"text/plain; charset=utf-8"}, noSniff
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{fmt.Sprint(len(line) + 1)}
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, line)
}

// oneLine is an error on one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
