package serve

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sink is a ResponseWriter that keeps nothing.
type sink struct {
	head   http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.head }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// What a small answer allocates is a good part of what it costs, and grows unseen.
func TestSmallAnswersAllocateLittle(t *testing.T) {
	docs, files := streams(t, "symlink"), plainTree(t, "symlink")
	docs.image("20260101", strings.Repeat("x", 100))
	small, err := os.ReadFile(filepath.Join(docs.dir, "staging/streams/v1/images.json"))
	docs.no(err)
	docs.write("streams/v1/images.json", string(small)+strings.Repeat(" ", minPacked)) // large enough for a Vary
	docs.promote()
	files.write("notes.json", strings.Repeat("a line of text\n", 130))
	files.promote()
	for _, c := range []struct {
		w    *world
		path string
		most int // with the sink and its headers; a little more than it is
	}{{docs, "/streams/v1/images.json", 7}, {files, "/notes.json", 27}} {
		c.w.keep()
		c.w.reach(1)
		h, r, last := c.w.server.Public(), httptest.NewRequest(http.MethodGet, c.path, nil), &sink{}
		n := testing.AllocsPerRun(1000, func() {
			last = &sink{head: http.Header{}}
			h.ServeHTTP(last, r)
		})
		if n > float64(c.most) || last.status != 200 {
			t.Errorf("%s: %d, %v allocations, want at most %d", c.path, last.status, n, c.most)
		}
		if len(last.head) > 8 { // Go's small maps have eight places
			t.Errorf("%s: more than eight headers: %v", c.path, last.head)
		}
	}
}
