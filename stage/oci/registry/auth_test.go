package registry

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.com/publish/stage/catalog"
)

func ofSize(n int) string { return strconv.Itoa(n) }

func certificate(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// tokens is a server of tokens, and the door of a registry that wants them.
type tokens struct {
	mu   sync.Mutex
	url  string
	uses int // of one token
	left map[string]int
	made int
	want string // user:password; "": anybody gets one
	refs []string
}

func newTokens(t *testing.T, uses int) *tokens {
	k := &tokens{uses: uses, left: map[string]int{}}
	k.url = serve(t, k).URL
	return k
}

// ServeHTTP hands out a token.
func (k *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	user, password, _ := r.BasicAuth()
	if k.want != "" && user+":"+password != k.want {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	k.refs = append(k.refs, r.URL.Query()["scope"]...)
	k.made++
	token := fmt.Sprintf("token-%d", k.made)
	k.left[token] = k.uses
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 1})
}

// door lets in who has a token.
func (k *tokens) door(then wrongFunc) wrongFunc {
	return func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		k.mu.Lock()
		in := k.left[token] > 0
		k.left[token]--
		k.mu.Unlock()
		if !in {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+k.url+`/token?sig=secret",service="x",`+
				`scope="repository:a/b:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		then(w, r, right)
	}
}

func right(w http.ResponseWriter, r *http.Request, h http.Handler) { h.ServeHTTP(w, r) }

// Tokens of few uses, and those that are over after one request, are got anew.
func TestTokens(t *testing.T) {
	for _, uses := range []int{1, 3, always} {
		f := newFake(t)
		var layers []string
		for i := range 12 {
			layers = append(layers, "layer "+ofSize(i))
		}
		f.tag("v1", f.index(f.image("linux/amd64", layers...).on("linux/amd64")))
		k := newTokens(t, uses)
		f.does(k.door(right))
		_, _, _, err := patient(t, asking(f, func(o *Options, _ *Settings) { o.Blobs = min(uses, 3) }), &clock{},
			newStore(t), host+"/a/b:v1")
		if err != nil {
			t.Errorf("%d uses: %v", uses, err)
		}
		if uses == always && k.made != 1 {
			t.Errorf("%d tokens", k.made)
		}
		for _, scope := range k.refs {
			if scope != "repository:a/b:pull" {
				t.Errorf("asked for %s", scope)
			}
		}
	}
}

// Credentials come from a file, and are in no error.
func TestCredentials(t *testing.T) {
	f := newFake(t)
	f.tag("v1", f.image("linux/amd64", "layer"))
	k := newTokens(t, always)
	k.want = "me:pass-secret"
	f.does(k.door(right))
	file := func(password string) string {
		name := filepath.Join(t.TempDir(), "config.json")
		auth := base64.StdEncoding.EncodeToString([]byte("me:" + password))
		text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, strings.TrimPrefix(f.url, "http://"), auth)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	with := func(name string) func(*Options, *Settings) {
		return func(_ *Options, s *Settings) { s.Credentials = name }
	}
	if _, _, err := copying(t, asking(f, with(file("pass-secret"))), newStore(t), host+"/a/b:v1"); err != nil {
		t.Error(err)
	}
	g := asking(f)
	t.Setenv("DOCKER_CONFIG", filepath.Dir(file("pass-secret")))
	if _, _, err := copying(t, g, newStore(t), host+"/a/b:v1"); err != nil {
		t.Errorf("from Docker's configuration: %v", err)
	}
	for name, set := range map[string]func(*Options, *Settings){"wrong": with(file("other-secret")), "none": with("")} {
		_, _, err := copying(t, asking(f, set), newStore(t), host+"/a/b:v1")
		wantFailure(t, err, catalog.Unauthorized, false, "401")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v: tells a credential", name, err)
		}
	}
	_, _, err := copying(t, asking(f, with(file("x")+".none")), newStore(t), host+"/a/b:v1")
	if _, ok := err.(*catalog.UsageError); !ok {
		t.Errorf("a file that is not there: %v", err)
	}
	hubs := filepath.Join(t.TempDir(), "config.json")
	for _, name := range []string{"docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"} {
		if err := os.WriteFile(hubs, []byte(`{"auths":{"`+name+`":{"auth":"bWU6eA=="}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		lookup, err := credentialsOf(hubs)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := lookup(t.Context(), hubServer); err != nil || c.Username != "me" {
			t.Errorf("%s: %v %v", name, c, err)
		}
	}
}

// A redirect to another host or port gets no Authorization, and goes on with a part.
func TestRedirect(t *testing.T) {
	f, elsewhere := newFake(t), newFake(t)
	data := strings.Repeat("0123456789", 10_000)
	f.tag("v1", f.image("linux/amd64", data))
	layer := elsewhere.blob(layerType, data)
	k := newTokens(t, always)
	other := strings.Replace(elsewhere.url, "127.0.0.1", "localhost", 1)
	f.does(k.door(once(always, layer.digest(), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other+"/v2/x/blobs/"+layer.digest()+"?sig=secret", http.StatusTemporaryRedirect)
	})))
	elsewhere.does(after(elsewhere, 2, layer.digest(), right))
	if _, _, err := copying(t, asking(f), newStore(t), host+"/a/b:v1"); err != nil {
		t.Fatal(err)
	}
	ranges := 0
	there := elsewhere.requests()
	for _, r := range there {
		if a := r.Header.Get("Authorization"); a != "" {
			t.Errorf("Authorization there: %s", a)
		}
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
		}
		if r.Header.Get("Range") != "" {
			ranges++
		}
	}
	if len(there) != 3 || ranges != 2 {
		t.Errorf("%d requests there, %d for a part", len(there), ranges)
	}
	for name, c := range map[string]struct {
		wrong http.HandlerFunc
		class catalog.Failure
		again bool
	}{
		"expired": {code(403), catalog.Unauthorized, true},
		"gone":    {code(404), catalog.NotFound, false},
		"dropped": {drop, catalog.Unreachable, true},
		"busy":    {code(429), catalog.RateLimit, true},
	} {
		elsewhere.does(once(always, "", c.wrong))
		_, _, err := copying(t, asking(f), newStore(t), host+"/a/b:v1")
		t.Run(name, func(t *testing.T) { wantFailure(t, err, c.class, c.again, other) })
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v: tells the query of a URL", name, err)
		}
	}
}
