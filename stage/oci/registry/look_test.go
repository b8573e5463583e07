package registry

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// Nothing new takes one request, and what HEAD says is believed only where it is the digest
// that was.
func TestLook(t *testing.T) {
	for name, c := range map[string]struct {
		wrong    wrongFunc
		heads    int
		gets     int // when nothing moved
		getsThen int // when the tag moved
	}{
		"right": {right, 1, 0, 1},
		"no header": {func(w http.ResponseWriter, r *http.Request, right http.Handler) {
			right.ServeHTTP(lying{w, ""}, r)
		}, 1, 1, 1},
		"another digest in the header": {func(w http.ResponseWriter, r *http.Request, right http.Handler) {
			right.ServeHTTP(lying{w, "sha256:" + strings.Repeat("0", 64)}, r)
		}, 1, 2, 2},
		"HEAD 405": {once(always, "HEAD ", code(405)), 1, 1, 1},
		"HEAD 401": {once(always, "HEAD ", code(401)), 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			was := f.image("linux/amd64", "layer")
			f.tag("v1", was)
			now := f.image("linux/amd64", "another layer")
			g := asking(f)
			f.does(c.wrong)
			look := func(text string) catalog.Digest {
				t.Helper()
				r, err := g.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				got, err := g.Look(context.Background(), r, was.of(t))
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			if got := look(host + "/a/b:v1"); got != was.of(t) || f.asked("HEAD ") != c.heads || f.asked("GET ") != c.gets {
				t.Errorf("nothing new: %s, %d HEAD, %d GET", got, f.asked("HEAD "), f.asked("GET "))
			}
			f.tag("v1", now)
			before := f.asked("GET ")
			// The digest in the name does not count.
			if got := look(host + "/a/b:v1@" + was.digest()); got != now.of(t) || f.asked("GET ") != before+c.getsThen {
				t.Errorf("moved: %s, %d GET", got, f.asked("GET ")-before)
			}
		})
	}
	f := newFake(t)
	r, err := asking(f).Parse(host + "/a/b:v1")
	if err != nil {
		t.Fatal(err)
	}
	zeros := catalog.Digest{Algorithm: catalog.SHA256, Hex: strings.Repeat("0", 64)}
	_, err = asking(f).Look(context.Background(), r, zeros)
	wantFailure(t, err, catalog.NotFound, false)
	f.does(once(always, "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }))
	_, err = asking(f).Look(context.Background(), r, zeros)
	wantFailure(t, err, catalog.RateLimit, true)
	if n := f.asked("GET "); n != 1 { // of the tag that is not there
		t.Errorf("a server that wants a pause is asked again: %d GET", n)
	}
}

// lying is an answer with another digest in its header; "": none.
type lying struct {
	http.ResponseWriter
	digest string
}

func (l lying) WriteHeader(status int) {
	l.Header().Del("Docker-Content-Digest")
	if l.digest != "" {
		l.Header().Set("Docker-Content-Digest", l.digest)
	}
	l.ResponseWriter.WriteHeader(status)
}
