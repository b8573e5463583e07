package serve

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// kernel is a ResponseWriter that can have the kernel send a file. It counts how often it
// is asked to, and with what.
type kernel struct {
	*httptest.ResponseRecorder
	t     *testing.T
	calls int
	bytes int64
}

func (k *kernel) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		k.t.Fatalf("it gets a %T", r)
	}
	if _, ok := limited.R.(syscall.Conn); !ok { // that is what net asks for
		k.t.Fatalf("it gets a part of a %T", limited.R)
	}
	k.calls++
	n, err := io.Copy(k.ResponseRecorder, limited)
	k.bytes += n
	return n, err
}

// Large files and documents, and parts of them, are sent by the kernel, through every
// wrapper.
func TestKernelSends(t *testing.T) {
	w := streams(t, "symlink", `serve: {access_log: "-"}`)
	large := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB
	path := w.image("20260101", large)
	w.write("page.html", strings.Repeat("x", 2*inMemory))
	w.promote()
	w.keep()
	w.get("/-/readyz")
	for _, c := range []struct {
		path, ranges string
		calls        int
		bytes        int64
	}{
		{"/" + path, "", 4, 3 << 20}, // the fourth finds the end
		{"/" + path, "bytes=0-1048575", 2, 1 << 20},
		{"/" + path, "bytes=5-10", 1, 6},
		{"/page.html", "", 1, 2 * inMemory},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		if c.ranges != "" {
			r.Header.Set("Range", c.ranges)
		}
		k := &kernel{ResponseRecorder: httptest.NewRecorder(), t: t}
		w.server.Public().ServeHTTP(k, r)
		if k.bytes != c.bytes || k.calls > c.calls || k.calls == 0 {
			t.Errorf("%s %s: %d calls for %d bytes, want at most %d for %d", c.path, c.ranges, k.calls, k.bytes, c.calls,
				c.bytes)
		}
	}
}

// The panic of a request is in the log, with its stack, and cuts the connection. What only
// cuts the connection is not.
func TestPanic(t *testing.T) {
	w := streams(t, "symlink")
	for _, c := range []struct {
		panic  any
		logged bool
	}{{"out of order", true}, {http.ErrAbortHandler, false}} {
		before := len(w.logged.String())
		h := w.server.handler(func(http.ResponseWriter, *http.Request, string, bool) { panic(c.panic) }, nil)
		func() {
			defer func() {
				if p := recover(); p != c.panic {
					t.Errorf("net/http gets %v, want %v", p, c.panic)
				}
			}()
			w.at(h, "/images/a")
		}()
		said := w.logged.String()[before:]
		if logged := strings.Contains(said, "level=ERROR") && strings.Contains(said, "out of order") &&
			strings.Contains(said, "/images/a") && strings.Contains(said, "TestPanic"); logged != c.logged {
			t.Errorf("%v: %q", c.panic, said)
		}
	}
}
