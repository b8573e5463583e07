package serve

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/durable"
)

// accessLog writes a line of JSON for each request. Lines are collected for a moment. A
// nil *accessLog writes nothing.
type accessLog struct {
	path string // "" if it is not a file
	log  *slog.Logger
	stop chan struct{}

	mu   sync.Mutex
	file *os.File // nil if it is not a file
	buf  *bufio.Writer
}

// accessPath is where the access log is, as openAccessLog takes it: the directory in which
// the program was started means nothing to who reads publish.yaml.
func (s *Server) accessPath() string {
	p := s.config.AccessLog
	if p == "" || p == "-" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.repo.Dir, p)
}

// openAccessLog opens the log at a path; - is output, "" is none.
func openAccessLog(path string, output io.Writer) (*accessLog, error) {
	if path == "" {
		return nil, nil
	}
	a := &accessLog{stop: make(chan struct{})}
	if path == "-" {
		a.buf = bufio.NewWriterSize(output, 64<<10)
	} else {
		a.path = path
		var err error
		if a.file, err = durable.OpenLog(path, 0o640); err != nil {
			return nil, &publish.Error{Path: path, Fact: "the access log cannot be opened", Err: err}
		}
		a.buf = bufio.NewWriterSize(a.file, 64<<10)
	}
	a.log = slog.New(slog.NewJSONHandler(a, &slog.HandlerOptions{ReplaceAttr: plainLine}))
	go a.flushing()
	return a, nil
}

// plainLine leaves out what each line would say alike.
func plainLine(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

// Write adds a line.
func (a *accessLog) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.buf.Write(line)
}

func (a *accessLog) flushing() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-tick.C:
			a.flush()
		}
	}
}

func (a *accessLog) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.buf.Flush() // the next line tells again, and nobody reads what is lost
}

// reopen opens the file anew, after a rotation.
func (a *accessLog) reopen(log *slog.Logger) {
	if a == nil || a.path == "" {
		return
	}
	f, err := durable.OpenLog(a.path, 0o640)
	if err != nil {
		log.Error("the access log cannot be opened; lines go on to the old file", "path", a.path, "error", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.buf.Flush()
	_ = a.file.Close()
	a.file = f
	a.buf.Reset(f)
}

func (a *accessLog) close() {
	if a == nil {
		return
	}
	close(a.stop)
	a.flush()
	if a.file != nil {
		_ = a.file.Close()
	}
}

// line logs a request that has ended.
func (a *accessLog) line(w *writer, r *http.Request, client string, start time.Time) {
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "",
		slog.String("client", client), slog.String("method", r.Method), slog.String("host", r.Host),
		slog.String("uri", r.RequestURI), slog.String("proto", r.Proto), slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes), slog.Int64("duration_us", time.Since(start).Microseconds()),
		slog.String("generation", first(w.Header()["Publish-Generation"])), slog.String("range", first(r.Header["Range"])),
		slog.String("user_agent", first(r.Header["User-Agent"])))
}

// first is the first value of a header.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// proxies are the addresses whose X-Forwarded-For is believed.
type proxies []netip.Prefix

// client is the address of who asks: the last one in X-Forwarded-For that is not a proxy
// of ours, if the connection comes from one.
func (p proxies) client(r *http.Request) string {
	host := peer(r)
	if !p.sent(r) {
		return host
	}
	list := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(list) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(list[i]))
		if err != nil {
			break
		}
		host = a.String()
		if !p.trust(host) {
			break
		}
	}
	return host
}

// peer is the address of the connection; "" or @ for a socket in the file system.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// sent reports whether a request comes from one of the proxies, or through a socket in the
// file system.
func (p proxies) sent(r *http.Request) bool {
	host := peer(r)
	return len(p) > 0 && (p.trust(host) || host == "@" || host == "")
}

func (p proxies) trust(host string) bool {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, prefix := range p {
		if prefix.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
