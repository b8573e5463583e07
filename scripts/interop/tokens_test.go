package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// tokens is a server of tokens for one registry, which one user may have.
type tokens struct {
	URL    string
	keys   string // a file with its public key
	issued atomic.Int64
}

const (
	tokenService, tokenIssuer = "registry.test", "tokens.test"
	tokenUser, tokenPassword  = "mirror", "correct horse"
)

func startTokens(t *testing.T) *tokens {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	public, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	s := &tokens{keys: filepath.Join(t.TempDir(), "keys.json")}
	err = os.WriteFile(s.keys, fmt.Appendf(nil, `{"keys": [{"kty": "EC", "crv": "P-256", "kid": "test", "use": "sig",
		"alg": "ES256", "x": %q, "y": %q}]}`, text(public[1:33]), text(public[33:])), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != tokenUser || password != tokenPassword {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		access := []map[string]any{}
		for _, scope := range r.URL.Query()["scope"] {
			if parts := strings.Split(scope, ":"); len(parts) == 3 {
				access = append(access, map[string]any{"type": parts[0], "name": parts[1],
					"actions": strings.Split(parts[2], ",")})
			}
		}
		now := time.Now()
		claims, err := json.Marshal(map[string]any{"iss": tokenIssuer, "sub": user, "aud": tokenService, "jti": rand.Text(),
			"exp": now.Add(time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix(), "iat": now.Unix(), "access": access})
		signed := text([]byte(`{"alg":"ES256","typ":"JWT","kid":"test"}`)) + "." + text(claims)
		sum := sha256.Sum256([]byte(signed))
		x, y, e := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil || e != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		signature := append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)
		s.issued.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": signed + "." + text(signature), "expires_in": 3600})
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// A registry that wants a token gets it, from the server that it names, for the user of
// the file of credentials; without them the job fails at once, and says why.
func TestMirrorToken(t *testing.T) {
	need(t, "skopeo")
	s := startTokens(t)
	host := startRegistry(t, fmt.Sprintf("auth: {token: {realm: %q, service: %q, issuer: %q, jwks: %q, "+
		"signingalgorithms: [ES256]}}\n", s.URL+"/token", tokenService, tokenIssuer, s.keys))
	from := newSource(t, "secret")
	command(t, "skopeo", "copy", "--all", "--dest-tls-verify=false", "--dest-creds", tokenUser+":"+tokenPassword,
		"oci:"+from.dir+":v1", "docker://"+host+"/acme/app:v1")
	r := newImages(t, "symlink")
	config := "format: oci\nmirror: {registries: {hub.example.com: {endpoints: [\"http://" + host + "\"]%s}}}\n"
	r.configure(fmt.Sprintf(config, ""))
	id := strings.TrimSpace(r.run("mirror", "add", "hub.example.com/acme/app:v1"))
	r.runIn(r.dir, 1, "mirror", "run", "--once")
	if got := r.run("mirror", "status", id); !strings.Contains(got, "failed (unauthorized)") {
		t.Error(got)
	}
	auth := base64.StdEncoding.EncodeToString([]byte(tokenUser + ":" + tokenPassword))
	file := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, host, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	r.configure(fmt.Sprintf(config, ", credentials: "+file))
	before := s.issued.Load()
	r.run("mirror", "retry", id)
	r.run("mirror", "run", "--once")
	if got := r.run("resolve", "hub.example.com/acme/app:v1", "--in", "staging"); !strings.Contains(got, from.v1) {
		t.Errorf("staged is %s, and not %s", got, from.v1)
	}
	if n := s.issued.Load() - before; n != 1 {
		t.Errorf("%d tokens were asked for, and one is enough", n)
	}
}
