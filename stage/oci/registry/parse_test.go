package registry

import (
	"errors"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

const (
	hex256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	hex512 = hex256 + hex256
)

func TestParse(t *testing.T) {
	g := New(Options{})
	for text, want := range map[string]string{
		"alpine":                              "docker.io/library/alpine:latest",
		"  alpine:3.20\n":                     "docker.io/library/alpine:3.20",
		"a/b":                                 "docker.io/a/b:latest",
		"docker://alpine":                     "docker.io/library/alpine:latest",
		"docker:a/b:t":                        "docker.io/a/b:t",
		"docker:alpine:3":                     "docker.io/library/alpine:3",
		"docker:27":                           "docker.io/library/docker:27", // as Docker reads it
		"docker:5000/x":                       "docker:5000/x:latest",
		"GHCR.IO/a/b":                         "ghcr.io/a/b:latest",
		"Registry-1.Docker.IO/alpine":         "docker.io/library/alpine:latest",
		"index.docker.io/a/b:1":               "docker.io/a/b:1",
		"registry.hub.docker.com/library/x:1": "docker.io/library/x:1",
		"LOCALHOST/x":                         "localhost/x:latest",
		"localhost:5000/x/y":                  "localhost:5000/x/y:latest",
		"[::1]:5000/a":                        "[::1]:5000/a:latest",
		"x.example.com:5000/a:b@sha256:" + hex256: "x.example.com:5000/a:b@sha256:" + hex256,
		"quay.io/a/b@sha512:" + hex512:            "quay.io/a/b@sha512:" + hex512,
	} {
		r, err := g.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if r.Canonical != want || r.Text != text {
			t.Errorf("%q: %q %q, want %q", text, r.Text, r.Canonical, want)
		}
		if again, err := g.Parse(r.Canonical); err != nil || again.Canonical != r.Canonical {
			t.Errorf("%s: read again it is %q: %v", r.Canonical, again.Canonical, err)
		}
		if !strings.HasPrefix(r.Name, r.Host+"/") || !strings.HasPrefix(r.Canonical, r.Name) ||
			strings.Contains(text, "@") != (r.Pinned != catalog.Digest{}) {
			t.Errorf("%q: name %q, host %q, pinned %q", text, r.Name, r.Host, r.Pinned)
		}
	}
}

func TestParseGuesses(t *testing.T) {
	g := New(Options{})
	for text, want := range map[string]string{
		"https://hub.docker.com/_/nginx":                 "docker.io/library/nginx:latest",
		"https://hub.docker.com/_/nginx?tab=tags":        "docker.io/library/nginx:latest",
		"hub.docker.com/_/nginx/":                        "docker.io/library/nginx:latest",
		"hub.docker.com/r/grafana/loki":                  "docker.io/grafana/loki:latest",
		"https://hub.docker.com/r/grafana/loki/tags":     "docker.io/grafana/loki:latest",
		"https://ghcr.io/a/b:v1":                         "ghcr.io/a/b:v1",
		"https://quay.io/repository/a/b?tab=info":        "quay.io/a/b:latest",
		"http://me:secret@registry.example.com/v2/x:tag": "registry.example.com/x:tag",
		"UPPER/case":                   "docker.io/upper/case:latest",
		"Nginx:Alpine":                 "docker.io/library/nginx:Alpine",
		"ghcr.io/A/b:T":                "ghcr.io/a/b:T",
		"nginx：1.2":                    "docker.io/library/nginx:1.2",
		"docker.io;nginx":              "docker.io/library/nginx:latest",
		"docker.io/library/nginx:1.2.": "",
		"nginx.":                       "docker.io/library/nginx:latest",
		"ghcr.io/a/b/":                 "ghcr.io/a/b:latest",
		"nginx:":                       "docker.io/library/nginx:latest",
		"docker pull nginx:1.2":        "docker.io/library/nginx:1.2",
		"nginx: 1.2":                   "docker.io/library/nginx:1.2",
		":latest":                      "put the name before it",
		"sha256:" + hex256:             "put the name before it",
		"@sha256:" + hex256:            "put the name before it",
		hex256:                         "",
		"":                             "",
		"a/../b":                       "",
		"alpine@sha256:" + hex256[1:]:  "",
		"alpine@md5:" + hex256[:32]:    "",
		"x\x00y":                       "",
	} {
		r, err := g.Parse(text)
		usage := new(catalog.UsageError)
		if text == "docker.io/library/nginx:1.2." { // a tag may end with a dot
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.As(err, &usage) || r != (catalog.Remote{Text: text}) {
			t.Errorf("%q: %v, %v", text, r, err)
			continue
		}
		if !strings.Contains(usage.Hint, want) || want == "" && strings.Contains(usage.Hint, "did you mean") {
			t.Errorf("%q: hint %q, want %q", text, usage.Hint, want)
		}
		if strings.Contains(usage.Fact+usage.Hint, "secret") || strings.Contains(usage.Fact, "\x00") {
			t.Errorf("%q: fact %q, hint %q", text, usage.Fact, usage.Hint)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"alpine", "docker://[::1]:5000/a@sha256:" + hex256, "https://hub.docker.com/_/x",
		"A：b", "a;b/", "http://u:p@h/x", "docker:a", ":x", "docker pull x"} {
		f.Add(s)
	}
	g := New(Options{})
	f.Fuzz(func(t *testing.T, text string) {
		r, err := g.Parse(text)
		usage := new(catalog.UsageError)
		if err != nil {
			if !errors.As(err, &usage) || usage.Fact == "" || len(usage.Fact) > 4000 {
				t.Fatalf("%q: %v", text, err)
			}
			if _, name, ok := strings.Cut(usage.Hint, "did you mean "); ok {
				if _, err := g.Parse(strings.TrimSuffix(name, "?")); err != nil {
					t.Errorf("%q: the guess %q is none: %v", text, name, err)
				}
			}
			return
		}
		again, err := g.Parse(r.Canonical)
		if err != nil || again.Canonical != r.Canonical || again.Name != r.Name || again.Host != r.Host ||
			again.Pinned != r.Pinned {
			t.Errorf("%q is %q, and that is %q: %v", text, r.Canonical, again.Canonical, err)
		}
		if r.Host != strings.ToLower(r.Host) || r.Host == "" || strings.Contains(r.Name, "..") {
			t.Errorf("%q: host %q, name %q", text, r.Host, r.Name)
		}
	})
}
