package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// until waits until something is so, however long that takes.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	t.Log("waits until", what)
	for !so() {
		time.Sleep(5 * time.Millisecond)
	}
}

// askOver asks a server, and returns the status and the answer.
func askOver(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	must(t, err)
	return answer.StatusCode, string(data)
}

// A request over HTTP gets its answer by a run; the token is read again on SIGHUP.
func TestMirrorOverHTTP(t *testing.T) {
	dir := t.TempDir()
	repo, token := filepath.Join(dir, "r"), filepath.Join(dir, "token")
	if out, err := publishCommand(t, "init", "--format", "oci", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(repo, "publish.yaml"), []byte("format: oci\nmirror: {requests: {directory: asked}, "+
		"allow: ['hub.example.com/**']}\n"), 0o644))
	must(t, os.WriteFile(token, []byte("a-token-of-the-first-day\n"), 0o600))
	run := func() {
		t.Helper()
		if out, err := publishCommand(t, "--repo", repo, "mirror", "run", "--once").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run() // makes the directory
	s := begin(t, publishCommand(t, "--repo", repo, "serve", "--listen", "http://127.0.0.1:0", "--admin", "off",
		"--requests", filepath.Join(repo, "asked"), "--requests-token", token))
	code, body := askOver(t, "POST", s.url+"/requests", "a-token-of-the-first-day", "reference: elsewhere.example.com/a:1")
	var said struct{ Answer, State, Reason string }
	must(t, json.Unmarshal([]byte(body), &said))
	if code != 202 || said.Answer == "" {
		t.Fatalf("%d %s", code, body)
	}
	run()
	code, body = askOver(t, "GET", s.url+"/requests/"+said.Answer, "a-token-of-the-first-day", "")
	must(t, json.Unmarshal([]byte(body), &said))
	if code != 200 || said.State != "denied" || !strings.Contains(said.Reason, "mirror.allow does not have it") {
		t.Errorf("%d %s", code, body)
	}
	out, err := publishCommand(t, "--repo", repo, "mirror", "history", "--json").CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"via":"http"`) {
		t.Errorf("%v: %s", err, out)
	}
	must(t, os.WriteFile(token, []byte("a-token-of-the-second-day\n"), 0o600))
	must(t, s.Process.Signal(syscall.SIGHUP))
	until(t, "the new token counts", func() bool {
		code, _ := askOver(t, "GET", s.url+"/requests/"+said.Answer, "a-token-of-the-second-day", "")
		return code == 200
	})
	if code, _ := askOver(t, "GET", s.url+"/requests/"+said.Answer, "a-token-of-the-first-day", ""); code != 401 {
		t.Errorf("the old token: %d", code)
	}
	must(t, s.Process.Signal(syscall.SIGTERM))
	if err := s.Wait(); err != nil {
		t.Errorf("%v: %s", err, s.stderr.String())
	}
}

// A webhook that hangs, and a run that is killed with SIGKILL while it does: the next run
// tells the same once more, with the same delivery. Jobs went on meanwhile.
func TestMirrorNoticeKilled(t *testing.T) {
	var mu sync.Mutex
	var got []string
	hang := make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, fmt.Sprintf("%s %s", r.Header.Get("X-Publish-Delivery"), bytes.TrimSpace(body)))
		mu.Unlock()
		<-hang
	}))
	defer hook.Close()
	all := func() []string { mu.Lock(); defer mu.Unlock(); return append([]string{}, got...) }
	repo := filepath.Join(t.TempDir(), "r")
	do := func(args ...string) string {
		out, _ := publishCommand(t, append([]string{"--repo", repo}, args...)...).CombinedOutput() // a job fails
		return string(out)
	}
	if out, err := publishCommand(t, "init", "--format", "oci", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(repo, "publish.yaml"), fmt.Appendf(nil, "format: oci\nmirror: {retry: {times: 1}, "+
		"registries: {hub.example.com: {endpoints: ['http://127.0.0.1:1']}}, notify: [{webhook: '%s/hidden'}]}\n", hook.URL),
		0o644))
	runner := publishCommand(t, "--repo", repo, "mirror", "run")
	must(t, runner.Start())
	defer runner.Process.Kill()
	until(t, "the outbox has a cursor", func() bool {
		_, err := os.Stat(filepath.Join(repo, ".publish/mirror/outbox/cursor"))
		return err == nil
	})
	do("mirror", "add", "hub.example.com/a:1")
	until(t, "it is told", func() bool { return len(all()) == 1 })
	do("mirror", "add", "hub.example.com/b:1")
	until(t, "the other job failed too", func() bool {
		return strings.Count(do("mirror", "list", "--state", "failed"), "hub.example.com") == 2
	})
	must(t, runner.Process.Kill())
	_ = runner.Wait() // it was killed
	close(hang)
	out := do("mirror", "run", "--once")
	told := all()
	if len(told) != 3 || told[0] != told[1] || told[0] == told[2] {
		t.Errorf("told %q\n%s", told, out)
	}
	if strings.Contains(out, "hidden") {
		t.Errorf("the path of the webhook is shown: %s", out)
	}
	if out := do("mirror", "run", "--once"); len(all()) != 3 {
		t.Errorf("told again: %q\n%s", all(), out)
	}
}
