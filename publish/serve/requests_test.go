package serve

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const token = "0123456789abcdef0123456789abcdef"

// intakeWorld is a server that takes requests into a directory.
func intakeWorld(t *testing.T) (w *world, dir string) {
	t.Helper()
	w = plainTree(t, "symlink", "serve: {requests: requests, requests_token: token}")
	dir = filepath.Join(w.dir, "requests")
	w.no(os.Mkdir(dir, 0o755))
	w.no(os.WriteFile(filepath.Join(w.dir, "token"), []byte(token+"\n"), 0o600))
	var err error
	w.server.intake, err = w.server.openIntake()
	w.no(err)
	w.write("page", "text")
	w.promote()
	w.keep()
	return w, dir
}

// post asks for something, with headers as pairs.
func (w *world) post(path, body string, headers ...string) response {
	w.Helper()
	r, err := http.NewRequest(http.MethodPost, w.http.URL+path, strings.NewReader(body))
	w.no(err)
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return w.send(r)
}

// files are the names in a directory.
func (w *world) files(dir string) (names []string) {
	w.Helper()
	list, err := os.ReadDir(dir)
	w.no(err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestRequests(t *testing.T) {
	w, dir := intakeWorld(t)
	r := w.post("/requests", "reference: alpine\n", "Content-Type", "application/yaml; charset=utf-8")
	var said struct{ Answer, State string }
	w.no(json.Unmarshal([]byte(r.body), &said))
	if r.StatusCode != 202 || said.State != "pending" || r.Header.Get("Location") != "/requests/"+said.Answer {
		t.Fatalf("%s %v %s", r.Status, r.Header, r.body)
	}
	if data, err := os.ReadFile(filepath.Join(dir, said.Answer)); err != nil || string(data) != "reference: alpine\n" {
		t.Fatalf("the file is %q, %v", data, err)
	}
	at, auth := "/requests/"+said.Answer, []string{"Authorization", "bearer " + token}
	w.want(w.get(at, auth...), 202, r.body)
	w.no(os.Mkdir(filepath.Join(dir, "answers"), 0o755))
	w.no(os.WriteFile(filepath.Join(dir, "answers", said.Answer+".json"), []byte("{}\n"), 0o644))
	w.want(w.get(at, auth...), 200, "{}\n")
	w.no(os.Remove(filepath.Join(dir, said.Answer)))
	w.want(w.get(at, auth...), 200, "{}\n")
	if r := w.do(http.MethodHead, at, auth...); r.StatusCode != 200 || r.body != "" {
		t.Errorf("HEAD: %s %q", r.Status, r.body)
	}
	// Names that this did not give out are not told of.
	w.no(os.WriteFile(filepath.Join(dir, "answers", "by-file.json"), []byte("{}\n"), 0o644))
	for _, name := range []string{"by-file", said.Answer + ".json", "http-x", said.Answer + "/"} {
		if r := w.get("/requests/"+name, auth...); r.StatusCode != 404 {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
	w.want(w.get("/page"), 200, "text") // the rest is as it was
	if r := w.post("/page", "x"); r.StatusCode != 405 {
		t.Errorf("POST elsewhere: %s", r.Status)
	}
}

func TestRequestsRefused(t *testing.T) {
	w, dir := intakeWorld(t)
	before := len(w.files(dir))
	for name, c := range map[string]struct {
		r      response
		status int
	}{
		"no token":        {w.post("/requests", "x: y", "Authorization", ""), 401},
		"other token":     {w.post("/requests", "x: y", "Authorization", "Bearer "+token+"0"), 401},
		"other scheme":    {w.post("/requests", "x: y", "Authorization", "Basic "+token), 401},
		"empty token":     {w.post("/requests", "x: y", "Authorization", "Bearer "), 401},
		"no token to see": {w.get("/requests/http-aaaaaaaaaaaaaaaaaaaaaaaaaa"), 401},
		"a form":          {w.post("/requests", "x=y", "Content-Type", "application/x-www-form-urlencoded"), 415},
		"a wrong type":    {w.post("/requests", "x=y", "Content-Type", ";"), 415},
		"too large":       {w.post("/requests", strings.Repeat("x", maxAsk+1)), 413},
		"nothing":         {w.post("/requests", " \n"), 400},
		"below":           {w.post("/requests/http-x", "x: y"), 405},
		"a slash":         {w.post("/requests/", "x: y"), 404},
		"GET":             {w.get("/requests", "Authorization", "Bearer "+token), 405},
	} {
		if c.r.StatusCode != c.status || !strings.HasPrefix(c.r.body, `{"error":"`) {
			t.Errorf("%s: %s %s", name, c.r.Status, c.r.body)
		}
	}
	if r := w.post("/requests", "x: y", "Authorization", "Bearer x"); r.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("401 without WWW-Authenticate: %v", r.Header)
	}
	// A body of unknown length is bounded too.
	r, err := http.NewRequest(http.MethodPost, w.http.URL+"/requests", struct{ *strings.Reader }{
		strings.NewReader(strings.Repeat("x", 10*maxAsk))})
	w.no(err)
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer "+token)
	if r := w.send(r); r.StatusCode != 413 {
		t.Errorf("chunked: %s", r.Status)
	}
	if n := len(w.files(dir)); n != before {
		t.Errorf("%d files were written", n-before)
	}
	if r := w.post("/requests", strings.Repeat("x", maxAsk)); r.StatusCode != 202 {
		t.Errorf("as large as may be: %s", r.Status)
	}
}

func TestRequestsMany(t *testing.T) {
	w, dir := intakeWorld(t)
	for i := range maxWaiting {
		w.no(os.WriteFile(filepath.Join(dir, fmt.Sprint("r", i)), nil, 0o644))
	}
	if r := w.post("/requests", "x: y"); r.StatusCode != 202 {
		t.Errorf("the last one: %s %s", r.Status, r.body)
	}
	if r := w.post("/requests", "x: y"); r.StatusCode != 429 || r.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s %v", r.Status, r.Header)
	}
	w.no(os.RemoveAll(dir))
	if r := w.post("/requests", "x: y"); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("without a directory: %s %v", r.Status, r.Header)
	}
}

func TestRequestsToken(t *testing.T) {
	w, _ := intakeWorld(t)
	path := filepath.Join(w.dir, "token")
	log := slog.New(slog.NewTextHandler(w.logged, nil))
	put := func(text string, mode os.FileMode) {
		w.no(os.WriteFile(path, []byte(text), mode))
		w.no(os.Chmod(path, mode))
		w.server.intake.reload(log)
	}
	ask := func(token string) int {
		return w.get("/requests/http-x", "Authorization", "Bearer "+token).StatusCode
	}
	for _, bad := range []string{"", "\n", "a\nb\n", strings.Repeat("x", maxToken+1)} {
		put(bad, 0o600)
		if got := ask(token); got != 404 { // the old one counts
			t.Errorf("%.9q: %d", bad, got)
		}
	}
	if n := strings.Count(w.logged.String(), "the old one counts"); n != 4 {
		t.Errorf("%d errors: %s", n, w.logged)
	}
	put("short", 0o604)
	if ask(token) != 401 || ask("short") != 404 {
		t.Error("the new token does not count")
	}
	for _, text := range []string{"every user of this machine can read the token", "short enough to be guessed"} {
		if !strings.Contains(w.logged.String(), text) {
			t.Errorf("no warning %q: %s", text, w.logged)
		}
	}
}

// Without the key nothing is written, and a directory that others of the repository need is
// refused.
func TestRequestsOff(t *testing.T) {
	w := plainTree(t, "symlink")
	if i, err := w.server.openIntake(); i != nil || err != nil {
		t.Errorf("%v %v", i, err)
	}
	w.write("page", "text")
	w.promote()
	w.keep()
	w.want(w.post("/requests", "x: y"), 405, "only GET and HEAD\n")
	w.want(w.get("/requests"), 404, "not found\n")
	w.no(os.WriteFile(filepath.Join(w.dir, "token"), []byte(token), 0o600))
	for _, dir := range []string{"staging", "production/x", ".publish/mirror", ".", "..", "/", "missing", "publish.yaml"} {
		w.server.config.Requests, w.server.config.RequestsToken = dir, "token"
		if _, err := w.server.openIntake(); err == nil {
			t.Errorf("%s: no error", dir)
		}
	}
}
