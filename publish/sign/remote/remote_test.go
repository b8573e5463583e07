package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// made is when the keys of tests were made, and now when they are used.
var (
	made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now  = made.Add(24 * time.Hour)
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// publisher has keys, and the keyrings of those who know it.
type publisher struct {
	signer          *sign.Signer
	pgp, mini, both *sign.Keyring
}

func newPublisher(t testing.TB) publisher {
	t.Helper()
	e := must(openpgp.NewEntity("Signer", "", "", &packet.Config{Algorithm: packet.PubKeyAlgoEd25519,
		Time: func() time.Time { return made }}))(t)
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var secret, shared bytes.Buffer
	if err := errors.Join(e.SerializePrivate(&secret, nil), e.Serialize(&shared)); err != nil {
		t.Fatal(err)
	}
	pgp, mini := write("pgp", shared.Bytes()), write("mini", must(public.MarshalText())(t))
	return publisher{must(sign.Open(sign.Options{
		OpenPGP:  sign.KeyOptions{Keys: []string{write("secret", secret.Bytes())}},
		Minisign: sign.KeyOptions{Keys: []string{write("mini.key", must(private.MarshalText())(t))}}}, now))(t),
		must(sign.OpenKeyring(pgp))(t), must(sign.OpenKeyring(mini))(t), must(sign.OpenKeyring(pgp, mini))(t)}
}

// server serves files.
type server struct {
	*httptest.Server
	mutex    sync.Mutex
	files    map[string]string
	requests int
	then     func(n int, s *server) // called before each request, with its number
}

func newServer(t testing.TB) *server {
	s := &server{files: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.requests++
		if s.then != nil {
			s.then(s.requests, s)
		}
		text, ok := s.files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

const index = `{"format": "index:1.0", "index": {"images": {"path": "streams/v1/images.json", "products": ["a"]}}}`

// publish makes a generation production: its number is also in its documents and its image.
func (p publisher) publish(t testing.TB, s *server, n int, until time.Time) {
	t.Helper()
	number := string(rune('0' + n))
	files := map[string]string{"streams/v1/index.json": index, "images/a b.img": "image " + number,
		"streams/v1/images.json": `{"products": {"a": {"n": ` + number + `, "l": [{}, [], 1.5e3, null]}}}` + "\n"}
	for _, name := range []string{"index", "images"} {
		text := strings.ReplaceAll(files["streams/v1/"+name+".json"], ".json", ".sjson")
		files["streams/v1/"+name+".sjson"] = string(must(p.signer.Inline(context.Background(), []byte(text)))(t))
	}
	l := &sign.Listing{Generation: n, TreeID: strings.Repeat("0", 63) + number, Made: now.Add(time.Duration(n) * time.Second),
		Until: until}
	for path, text := range files {
		sum := sha256.Sum256([]byte(text))
		l.Rows = append(l.Rows, tree.Row{Path: path, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])})
	}
	l.Rows = append(l.Rows, tree.Row{Path: "latest", Size: 10, SHA256: strings.Repeat("0", 64), Role: catalog.Link})
	slices.SortFunc(l.Rows, func(a, b tree.Row) int { return strings.Compare(a.Path, b.Path) })
	data := l.Encode()
	files[sign.ListingName] = string(data)
	for _, sig := range must(p.signer.Detached(context.Background(), data, l.Trusted()))(t) {
		files[sign.ListingName+sig.Suffix] = string(sig.Data)
	}
	s.files = files
}

func (s *server) options(keys *sign.Keyring) Options {
	return Options{URL: s.URL + "/", Keys: keys, Full: true, Pause: 1, Now: func() time.Time { return now.Add(time.Minute) }}
}

func TestVerify(t *testing.T) {
	p, s := newPublisher(t), newServer(t)
	p.publish(t, s, 2, now.Add(time.Hour))
	for _, keys := range []*sign.Keyring{p.pgp, p.mini, p.both} {
		o := s.options(keys)
		var read int64
		var mutex sync.Mutex
		o.After, o.Progress = 2, func(n int64) { mutex.Lock(); read += n; mutex.Unlock() }
		r, err := Verify(context.Background(), o)
		if err != nil || len(r.Findings) > 0 || r.Bytes == 0 || r.Bytes != read {
			t.Fatalf("%+v %v, %d", r, err, read)
		}
		pgp, small := keys.Has()
		if docs := strings.Join(r.Documents, " "); pgp != (docs == "streams/v1/images.sjson streams/v1/index.sjson") ||
			small != (r.Generation == 2 && r.Until != nil && r.Files == 5 && r.Made.Equal(now.Add(2*time.Second))) {
			t.Errorf("%+v", r)
		}
		o.Full = false
		if r, err := Verify(context.Background(), o); err != nil || r.Files != 0 || len(r.Findings) > 0 {
			t.Errorf("%+v %v", r, err)
		}
	}
}

// Whatever a server changes is a finding, and none is an error.
func TestHostile(t *testing.T) {
	p, stranger := newPublisher(t), newPublisher(t)
	old := newServer(t)
	p.publish(t, old, 1, time.Time{})
	for name, c := range map[string]struct {
		change func(s *server)
		want   []string // code and path of each finding
	}{
		"nothing there":       {func(s *server) { s.files = nil }, []string{"missing publish-manifest"}},
		"an older generation": {func(s *server) { s.files = old.files }, []string{"old-generation publish-manifest"}},
		"an older list": {func(s *server) {
			for _, f := range []string{sign.ListingName, sign.ListingName + ".minisig"} {
				s.files[f] = old.files[f]
			}
		}, []string{"differs images/a b.img", "old-generation publish-manifest", "differs streams/v1/images.json",
			"differs streams/v1/images.sjson", "differs streams/v1/index.sjson"}},
		"an older signature": {func(s *server) { s.files["publish-manifest.minisig"] = old.files["publish-manifest.minisig"] },
			[]string{"bad-signature publish-manifest.minisig"}},
		"no signature": {func(s *server) { delete(s.files, "publish-manifest.minisig") },
			[]string{"missing publish-manifest.minisig"}},
		"a stranger": {func(s *server) { stranger.publish(t, s, 3, time.Time{}) },
			[]string{"bad-signature publish-manifest"}},
		"another list":   {func(s *server) { s.files["publish-manifest"] += "\n" }, []string{"bad-signature publish-manifest.minisig"}},
		"another image":  {func(s *server) { s.files["images/a b.img"] = "image 9" }, []string{"differs images/a b.img"}},
		"a longer image": {func(s *server) { s.files["images/a b.img"] += "x" }, []string{"differs images/a b.img"}},
		"no image":       {func(s *server) { delete(s.files, "images/a b.img") }, []string{"missing images/a b.img"}},
		"an older document": {func(s *server) { s.files["streams/v1/images.sjson"] = old.files["streams/v1/images.sjson"] },
			[]string{"differs streams/v1/images.sjson"}},
		"an older plain document": {func(s *server) { s.files["streams/v1/images.json"] = old.files["streams/v1/images.json"] },
			[]string{"differs streams/v1/images.json"}},
		"past its date": {func(s *server) { p.publish(t, s, 2, now) }, []string{"past-its-date publish-manifest"}},
		"a huge signature": {func(s *server) { s.files["publish-manifest.minisig"] = strings.Repeat("x", 2<<20) },
			[]string{"too-large publish-manifest.minisig"}},
		"a login page": {func(s *server) {
			for f := range s.files {
				s.files[f] = "<html>"
			}
		}, []string{"bad-signature publish-manifest.minisig"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p.publish(t, s, 2, time.Time{})
			c.change(s)
			o := s.options(p.both)
			o.After = 2
			r, err := Verify(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := codes(r); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q: %+v", got, c.want, r.Findings)
			}
		})
	}
}

func codes(r *Result) (list []string) {
	for _, f := range r.Findings {
		list = append(list, f.Code+" "+f.Path)
	}
	return list
}

// Without a list, the documents alone are compared.
func TestHostileDocuments(t *testing.T) {
	p, stranger := newPublisher(t), newPublisher(t)
	old, other := newServer(t), newServer(t)
	p.publish(t, old, 1, time.Time{})
	stranger.publish(t, other, 2, time.Time{})
	inline := func(text string) string { return string(must(p.signer.Inline(context.Background(), []byte(text)))(t)) }
	const signedIndex, plainIndex = "streams/v1/index.sjson", "streams/v1/index.json"
	for name, c := range map[string]struct {
		path, text string
		want       []string
	}{
		"not signed":        {signedIndex, index, []string{"bad-signature " + signedIndex}},
		"a stranger":        {signedIndex, other.files[signedIndex], []string{"bad-signature " + signedIndex}},
		"another index":     {plainIndex, strings.Replace(index, `["a"]`, `["b"]`, 1), []string{"differs " + plainIndex}},
		"a name twice":      {plainIndex, `{"format": "x", ` + index[1:], []string{"differs " + plainIndex}},
		"more behind it":    {plainIndex, index + index, []string{"differs " + plainIndex}},
		"no text":           {plainIndex, "\"\xff\"", []string{"differs " + plainIndex}},
		"deep":              {plainIndex, strings.Repeat("[", 1e6), []string{"differs " + plainIndex}},
		"another catalog":   {"streams/v1/images.json", `{}`, []string{"differs streams/v1/images.json"}},
		"an older catalog":  {"streams/v1/images.sjson", old.files["streams/v1/images.sjson"], []string{"differs streams/v1/images.json"}},
		"no index":          {signedIndex, inline(`{"index": {"a": {}}}`), []string{"differs " + signedIndex}},
		"names plain ones":  {signedIndex, inline(index), []string{"differs " + signedIndex}},
		"leads out":         {signedIndex, inline(`{"index": {"a": {"path": "../x.sjson"}}}`), []string{"differs " + plainIndex, "unsafe-path " + signedIndex}},
		"another server":    {signedIndex, inline(`{"index": {"a": {"path": "http://x/x.sjson"}}}`), []string{"differs " + plainIndex, "unsafe-path " + signedIndex}},
		"missing documents": {signedIndex, inline(strings.ReplaceAll(index, "images.json", "more.sjson")), []string{"missing streams/v1/more.sjson"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p.publish(t, s, 2, time.Time{})
			s.files[c.path] = c.text
			r, err := Verify(context.Background(), s.options(p.pgp))
			if err != nil {
				t.Fatal(err)
			}
			if got := codes(r); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q: %+v", got, c.want, r.Findings)
			}
		})
	}
}

// place makes a server one that is an object store: catalogs lie by their hashes, and the index is
// the pointer.
func place(s *server, text string) {
	sum := sha256.Sum256([]byte(text))
	key := "streams/v1/images-" + hex.EncodeToString(sum[:]) + ".json"
	s.files[key] = text
	s.files["streams/v1/index.json"] = strings.Replace(index[:len(index)-1]+`, "publish": {"seq": 1}}`,
		"streams/v1/images.json", key, 1)
	delete(s.files, "streams/v1/images.json")
}

func TestObjectStore(t *testing.T) {
	p, old := newPublisher(t), newServer(t)
	p.publish(t, old, 1, time.Time{})
	for _, keys := range []*sign.Keyring{p.pgp, p.mini, p.both} {
		s := newServer(t)
		p.publish(t, s, 2, time.Time{})
		place(s, s.files["streams/v1/images.json"])
		r, err := Verify(context.Background(), s.options(keys))
		if _, small := keys.Has(); err != nil || len(r.Findings) > 0 || small && r.Files != 4 {
			t.Errorf("%+v %v", r, err)
		}
		place(s, old.files["streams/v1/images.json"])
		if r, err := Verify(context.Background(), s.options(keys)); err != nil || len(r.Findings) == 0 {
			t.Errorf("an older catalog: %+v %v", r, err)
		}
	}
}

// A promote between any two requests is no finding.
func TestMeanwhile(t *testing.T) {
	p := newPublisher(t)
	before, after := newServer(t), newServer(t)
	p.publish(t, before, 1, time.Time{})
	p.publish(t, after, 2, time.Time{})
	for n := 2; n < 20; n++ {
		s := newServer(t)
		s.files, s.then = before.files, func(at int, s *server) {
			if at == n {
				s.files = after.files
			}
		}
		r, err := Verify(context.Background(), s.options(p.both))
		if err != nil || len(r.Findings) > 0 {
			t.Errorf("before request %d: %+v %v", n, r, err)
		}
	}
}

// While a key is replaced, its clients find their signature under the name of the key.
func TestTwoKeys(t *testing.T) {
	p, next, s := newPublisher(t), newPublisher(t), newServer(t)
	p.publish(t, s, 2, time.Time{})
	sig := must(next.signer.Detached(context.Background(), []byte(s.files[sign.ListingName]),
		"generation:2 time:"+now.Add(2*time.Second).Format(time.RFC3339)))(t)[0].Data
	o := s.options(next.mini)
	if r, err := Verify(context.Background(), o); err != nil || !slices.Equal(codes(r), []string{"bad-signature publish-manifest"}) {
		t.Errorf("%+v %v", r, err)
	}
	s.files[sign.ListingName+next.mini.Suffixes()[1]] = string(sig)
	if r, err := Verify(context.Background(), o); err != nil || len(r.Findings) > 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// A server that does not answer is an error, and what cannot be asked is one of usage.
func TestUnreachable(t *testing.T) {
	p := newPublisher(t)
	handler := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)
	for name, c := range map[string]struct{ url, text string }{
		"closed": {closed.URL, "connection refused"},
		"500":    {handler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), "500"},
		"403":    {handler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }), "403"},
		"a loop": {handler(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", http.StatusFound) }), "10 times"},
		"a file": {handler(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}), "file://"},
		"no trust": {tls.URL, "certificate"},
		"cut": {handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "x")
		}), "cut"},
	} {
		failed := new(catalog.RemoteError)
		r, err := Verify(context.Background(), Options{URL: c.url, Keys: p.both, Pause: 1})
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %+v %v, want %s", name, r, err, c.text)
		}
	}
	for _, o := range []Options{{URL: "images.example.com", Keys: p.both}, {URL: "ftp://x/", Keys: p.both},
		{URL: "http://x/?a=b", Keys: p.both}, {URL: "http://x/", Keys: new(sign.Keyring)}} {
		if _, err := Verify(context.Background(), o); !errors.As(err, new(*catalog.UsageError)) {
			t.Errorf("%s: %v", o.URL, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Verify(ctx, Options{URL: closed.URL, Keys: p.both}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A body without end is read to its bound.
func TestEndless(t *testing.T) {
	p, s := newPublisher(t), newServer(t)
	p.publish(t, s, 2, time.Time{})
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/images/a b.img" {
			http.Redirect(w, r, s.URL+r.URL.Path, http.StatusFound)
			return
		}
		for more := make([]byte, 1<<16); ; {
			if _, err := w.Write(more); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	o := s.options(p.both)
	o.URL = endless.URL
	r, err := Verify(context.Background(), o)
	if err != nil || !slices.Equal(codes(r), []string{"differs images/a b.img"}) {
		t.Errorf("%+v %v", r, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(index))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(data)
		if err == nil {
			_, _ = paths(v)
		}
	})
}
