package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var ctx = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func message() Message { return Message{ID: "d1", Event: "staged", Body: []byte(`{"delivery":"d1"}`)} }

func isUnwanted(err error) bool {
	var u interface{ Unwanted() bool }
	return errors.As(err, &u) && u.Unwanted()
}

func TestWebhook(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("key\n"), 0o600))
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(204)
	}))
	defer server.Close()
	r := Webhook("hook", server.URL+"/x?token=hidden", secret, []string{"staged"})
	must(t, r.Send(ctx, message()))
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write(message().Body)
	want := map[string]string{"Content-Type": "application/json", "X-Publish-Event": "staged", "X-Publish-Delivery": "d1",
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))}
	for name, value := range want {
		if got.Header.Get(name) != value {
			t.Errorf("%s is %q, not %q", name, got.Header.Get(name), value)
		}
	}
	if got.Method != "POST" || string(body) != string(message().Body) || got.URL.RawQuery != "token=hidden" {
		t.Errorf("%s %s %q", got.Method, got.URL, body)
	}
	if !r.Wants("staged") || r.Wants("failed") || !Webhook("", "http://x", "", nil).Wants("failed") {
		t.Error("events")
	}
	if again := Webhook("other", server.URL+"/x?token=hidden", "", nil); again.Key() != r.Key() {
		t.Error("the same address has another key")
	}
	// The secret is read each time.
	must(t, os.WriteFile(secret, []byte("\n"), 0o600))
	if err := r.Send(ctx, message()); err == nil || isUnwanted(err) {
		t.Errorf("without a secret: %v", err)
	}
	plain := Webhook("hook", server.URL, "", nil)
	must(t, plain.Send(ctx, message()))
	if got.Header.Get("X-Hub-Signature-256") != "" {
		t.Error("signed without a secret")
	}
}

func TestWebhookFails(t *testing.T) {
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
		switch r.URL.Query().Get("to") {
		case "other":
			w.Header().Set("Location", other.URL)
		case "self":
			w.Header().Set("Location", "/200")
		case "loop":
			w.Header().Set("Location", r.URL.String())
		}
		if r.Method != http.MethodPost {
			code = 500
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.WriteHeader(code)
	}))
	defer at.Close()
	for path, want := range map[string]struct {
		ok, unwanted bool
	}{"/200": {ok: true}, "/201": {ok: true}, "/299": {ok: true}, "/400": {unwanted: true}, "/404": {unwanted: true},
		"/410": {unwanted: true}, "/408": {}, "/429": {}, "/500": {}, "/503": {}, "/302?to=other": {}, "/307?to=other": {},
		"/302?to=self": {}, "/303?to=self": {}, "/307?to=self": {ok: true}, "/308?to=self": {ok: true},
		"/307?to=loop": {}, "/304": {}} {
		err := Webhook("", at.URL+path, "", nil).Send(ctx, message())
		if (err == nil) != want.ok || isUnwanted(err) != want.unwanted {
			t.Errorf("%s: %v", path, err)
		}
		if err != nil && strings.Contains(err.Error(), at.URL) {
			t.Errorf("%s: the error has the address: %v", path, err)
		}
	}
	if elsewhere != 0 {
		t.Error("a notice went to another host")
	}
	at.Close()
	err := Webhook("", at.URL+"/hidden?token=hidden", "", nil).Send(ctx, message())
	if err == nil || strings.Contains(err.Error(), "hidden") || isUnwanted(err) {
		t.Errorf("nobody there: %v", err)
	}
}

// A proxy is asked for: that of the environment, which net/http reads once a process.
func TestWebhookProxy(t *testing.T) {
	asked := ""
	client := clientWith(func(r *http.Request) (*url.URL, error) { asked = r.URL.Host; return nil, errors.New("no") })
	if err := post(ctx, client, "http://hooks.example.com/", "", message()); err == nil || asked != "hooks.example.com" {
		t.Errorf("%v", err)
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	sh := func(script string) *Receiver { return Command("", dir, []string{"sh", "-c", script}, nil) }
	must(t, sh(`cat > got; pwd >> got; echo "$PUBLISH_REPO $PUBLISH_EVENT $PUBLISH_DELIVERY" >> got; yes | head -c 1000000`).
		Send(ctx, message()))
	data, err := os.ReadFile(filepath.Join(dir, "got"))
	must(t, err)
	if want := fmt.Sprintf("{\"delivery\":\"d1\"}\n%s\n%s staged d1\n", dir, dir); string(data) != want {
		t.Errorf("it got %q", data)
	}
	must(t, sh("exit 0").Send(ctx, message())) // it need not read
	err = sh(`echo first; printf 'the \033[31mreason\n' >&2; exit 7`).Send(ctx, message())
	if err == nil || err.Error() != "exit status 7: the  [31mreason" || !isUnwanted(err) {
		t.Errorf("%q", err)
	}
	if err := Command("", dir, []string{"./missing"}, nil).Send(ctx, message()); err == nil || isUnwanted(err) {
		t.Errorf("missing: %v", err)
	}
	// The end of the time reaches its children. A test cannot wait for Timeout: ctx ends before.
	short, cancel := context.WithCancel(ctx)
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(dir, "began")); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if err := sh("sleep 600 & touch began; wait").Send(short, message()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notices")
	r := File("", path, func(string) error { return nil }, nil)
	must(t, r.Send(ctx, message()))
	must(t, r.Send(ctx, message()))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(`{"torn`)
	must(t, errors.Join(err, f.Close()))
	must(t, r.Send(ctx, message()))
	data, err := os.ReadFile(path)
	must(t, err)
	line := "{\"delivery\":\"d1\"}\n"
	if want := line + line + "{\"torn\n" + line; string(data) != want {
		t.Errorf("the file is %q", data)
	}
	no := errors.New("is in production")
	if err := File("", path, func(string) error { return no }, nil).Send(ctx, message()); !errors.Is(err, no) {
		t.Errorf("%v", err)
	}
	if err := File("", filepath.Dir(path), func(string) error { return nil }, nil).Send(ctx, message()); err == nil {
		t.Error("a folder is no file")
	}
}
