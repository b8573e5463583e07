package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/durable"
)

// accessLog writes a line of JSON for each request. Lines are collected for a moment. A
// nil *accessLog writes nothing.
type accessLog struct {
	path  string                  // "" if it is not a file
	check func(path string) error // see openAccessLog
	log   *slog.Logger
	own   *slog.Logger // of the server
	stop  chan struct{}

	mu   sync.Mutex
	file *os.File // nil if it is not a file
	to   io.Writer
	buf  []byte // whole lines
	lost int    // lines that could not be written since the last time that it worked
	ill  bool   // the last write failed
	cut  bool   // it ended within a line
}

// collected is how many bytes of lines wait to be written at most.
const collected = 64 << 10

// openAccessLog opens the log at a path; - is output, "" is none. own is the log of the
// server, which says when lines are lost. check returns an error if the file must not be
// written to; nil: each may be.
func openAccessLog(path string, output io.Writer, own *slog.Logger, check func(string) error) (*accessLog, error) {
	if path == "" {
		return nil, nil
	}
	a := &accessLog{own: own, to: output, check: check, stop: make(chan struct{})}
	if path != "-" {
		a.path = path
		var err error
		if a.file, err = a.open(); err != nil {
			return nil, err
		}
		a.to = a.file
	}
	a.log = slog.New(slog.NewJSONHandler(a, &slog.HandlerOptions{ReplaceAttr: plainLine}))
	go a.flushing()
	return a, nil
}

// open opens the file. What the path leads to may be another place than the last time.
func (a *accessLog) open() (*os.File, error) {
	if a.check != nil {
		if err := a.check(a.path); err != nil {
			return nil, fmt.Errorf("the access log: %w", err)
		}
	}
	f, err := durable.OpenLog(a.path, 0o640)
	if err != nil {
		return nil, &publish.Error{Path: a.path, Fact: "the access log cannot be opened", Err: err}
	}
	return f, nil
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
	if len(a.buf)+len(line) > collected {
		a.write()
	}
	a.buf = append(a.buf, line...)
	return len(line), nil
}

// write writes the lines that were collected, and forgets them: a full disk must not take
// the memory too. What is lost is counted, and logged when it begins and when it ends, not
// at each try. The caller holds mu.
func (a *accessLog) write() {
	if len(a.buf) == 0 {
		return
	}
	data := a.buf
	if a.cut { // what is left of a line must not spoil the next one
		data = append([]byte{'\n'}, data...)
	}
	n, err := a.to.Write(data)
	n = min(max(n, 0), len(data))
	lines := bytes.Count(data[n:], []byte{'\n'})
	if n < len(data) && data[n] == '\n' {
		lines-- // only its end is missing, and comes with the next line
	}
	if n > 0 {
		a.cut = data[n-1] != '\n'
	}
	a.buf = a.buf[:0]
	switch {
	case err != nil:
		a.lost += lines
		if !a.ill {
			a.own.Error("the access log cannot be written; lines are lost", "path", a.path, "error", err)
		}
	case a.ill:
		a.own.Warn("the access log is written again", "path", a.path, "lost", a.lost)
		a.lost = 0
	}
	a.ill = err != nil
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
	a.write()
}

// reopen opens the file anew, after a rotation.
func (a *accessLog) reopen() {
	if a == nil || a.path == "" {
		return
	}
	f, err := a.open()
	if err != nil {
		a.own.Error("the access log cannot be opened; lines go on to the old file", "path", a.path, "error", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write()
	a.cut = a.cut && sameFile(a.file, f)
	_ = a.file.Close()
	a.file, a.to = f, f
}

// sameFile reports whether two files are one, as far as is known.
func sameFile(a, b *os.File) bool {
	fa, errA := a.Stat()
	fb, errB := b.Stat()
	return errA != nil || errB != nil || os.SameFile(fa, fb)
}

func (a *accessLog) close() {
	if a == nil {
		return
	}
	close(a.stop)
	a.flush()
	if a.lost > 0 {
		a.own.Warn("lines of the access log are lost", "path", a.path, "lost", a.lost)
	}
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
