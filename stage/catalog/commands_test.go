package catalog

import (
	"os/exec"
	"testing"
)

// What a name of a stranger brings into a command is one word of it, or no command.
func TestShell(t *testing.T) {
	for word, want := range map[string]string{
		"r:debian/12":            "r:debian/12",
		"":                       "''",
		"a b":                    "'a b'",
		"$(rm -rf ~)":            "'$(rm -rf ~)'",
		"`id`;&|<>*?~#!\\":       "'`id`;&|<>*?~#!\\'",
		`it's`:                   `'it'\''s'`,
		"a\nb":                   "",
		"a\u202eb":               "",
		"a\xffb":                 "",
		"<script>alert</script>": "'<script>alert</script>'",
	} {
		got := Shell(word)
		if got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
		if got == "" {
			continue
		}
		out, err := exec.Command("sh", "-c", "printf %s "+got).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q: a shell reads %q (%v)", word, out, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for url, want := range map[string][2]string{
		"https://images.example.org":       {"images.example.org", "https://images.example.org/a%20b/%3Fc"},
		"http://127.0.0.1:8080/base":       {"127.0.0.1", "http://127.0.0.1:8080/base/a%20b/%3Fc"},
		"https://[2001:db8::1]:8443/x/y":   {"mirror", "https://[2001:db8::1]:8443/x/y/a%20b/%3Fc"},
		"https://images.example.org:8443/": {"images.example.org", "https://images.example.org:8443//a%20b/%3Fc"},
	} {
		a := Address{URL: url}
		if got := [2]string{a.Remote(), a.Of("a b/?c")}; got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
