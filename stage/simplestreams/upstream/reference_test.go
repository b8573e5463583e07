package upstream

import (
	"errors"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

func TestParse(t *testing.T) {
	for text, want := range map[string][3]string{ // canonical, name, host
		"https://images.example.com#debian:*":              {"", "images.example.com/debian:*", "images.example.com"},
		" HTTPS://Images.Example.COM:443/#debian:*":        {"https://images.example.com#debian:*", "images.example.com/debian:*", "images.example.com"},
		"http://10.0.0.1:80/a//b/../c/#x/2026*":            {"http://10.0.0.1/a/c#x/2026*", "10.0.0.1/a/c/x", "10.0.0.1"},
		"http://[::1]:8080/streams/v1/index.json#x":        {"http://[::1]:8080#x", "[::1]:8080/x", "[::1]:8080"},
		"https://h.example.com/r/streams/v1/index.sjson#*": {"https://h.example.com/r#*", "h.example.com/r/*", "h.example.com"},
		"https://h.example.com#[a-c]?:*/20260101_00:00":    {"", "h.example.com/[a-c]?:*", "h.example.com"},
	} {
		r, err := New(Options{}).Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if want[0] == "" {
			want[0] = text
		}
		if got := [3]string{r.Canonical, r.Name, r.Host}; got != want || r.Text != text {
			t.Errorf("%s: %v", text, got)
		}
		if again, err := New(Options{}).Parse(r.Canonical); err != nil || again.Canonical != r.Canonical {
			t.Errorf("%s: %v %v", r.Canonical, again, err)
		}
	}
	for text, hint := range map[string]string{
		"alpine": "a repository of format oci", "docker.io/library/alpine:3": "a repository of format oci",
		"images.example.com#debian":              "did you mean https://images.example.com#debian?",
		"https://images.example.com":             "did you mean https://images.example.com#*?",
		"https://images.example.com#":            "did you mean https://images.example.com#*?",
		"https://images.example.com#a/":          "did you mean https://images.example.com#a?",
		"https://me:secret@images.example.com#a": "write it as", "https://images.example.com?q=secret#a": "did you mean https://images.example.com#a?",
		"ftp://images.example.com#a": "write it as", "https://#a": "write it as", "#a": "write it as", "": "a repository of",
		"https://h#a/b/c": "write it as", "https://h#[": "write it as", "https://h#a\x1b[2J": "write it as",
	} {
		_, err := New(Options{}).Parse(text)
		bad := new(catalog.UsageError)
		if !errors.As(err, &bad) || !strings.HasPrefix(bad.Hint, hint) || strings.Contains(err.Error()+bad.Hint, "secret") ||
			strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v, hint %q", text, err, bad.Hint)
		}
	}
}

func TestMatch(t *testing.T) {
	u := New(Options{})
	for text, want := range map[string]bool{
		"https://h#*": true, "https://h#debian:*": true, "https://h#debian:1?:default:amd64": true, "https://h#debian": false,
		"https://h#*/2026*": true, "https://h#*/2025*": false, "https://h#*:amd64/20260101_00:00": true,
	} {
		r, err := u.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Match(r, "debian:13:default:amd64", "20260101_00:00"); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if r, _ := u.Parse("https://h#a*c"); !u.Match(r, "a/b/c", "1") {
		t.Error("a slash in a product is not matched")
	}
}

func TestFilters(t *testing.T) {
	fields := map[string]string{"arch": "amd64", "release": "noble", "size": "5"}
	for text, want := range map[string]bool{
		"arch=amd64": true, "arch=amd": false, "arch!=amd64": false, "release~(noble|jammy)": true, "release~nob": true,
		"release~ble": false, "release~nob$": false, "release!~(jammy)": true, "size=5": true, "none=": true,
		"none!=x": true, "none~x": false, "release~": true, " arch =amd64": true, "release~a|n": true,
	} {
		f, err := parseFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.takes(func(name string) string { return fields[name] }); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	for _, text := range []string{"", "arch", "=x", "arch!x", "arch~(", " =x", "a~" + strings.Repeat("x", maxFilter)} {
		if err := New(Options{}).CheckFilters([]string{text}); !errors.As(err, new(*catalog.UsageError)) {
			t.Errorf("%.20q: error %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://images.example.com#debian:*/2026*", "http://[::1]:80/a#x", "alpine", "h#a", "https://h?x#",
		"https://h/%2e%2e/#a", "https://h:99999#a", "HTTP://A%41/#b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := New(Options{}).Parse(text)
		if err != nil {
			if !errors.As(err, new(*catalog.UsageError)) {
				t.Errorf("%q: error %v", text, err)
			}
			return
		}
		again, err := New(Options{}).Parse(r.Canonical)
		if err != nil || again.Canonical != r.Canonical || again.Name != r.Name || again.Host != r.Host {
			t.Errorf("%q: %q, then %q: %v", text, r.Canonical, again.Canonical, err)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"arch=amd64", "a!~(b", "a~(?i)x|y", "a!=", "~"} {
		f.Add(s, "amd64")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if x, err := parseFilter(text); err == nil {
			n := x
			n.negated = !n.negated
			field := func(string) string { return value }
			if x.takes(field) == n.takes(field) {
				t.Errorf("%q takes and refuses %q", text, value)
			}
		} else if !errors.As(err, new(*catalog.UsageError)) {
			t.Errorf("%q: error %v", text, err)
		}
	})
}
