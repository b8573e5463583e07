package oci

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

func TestUses(t *testing.T) {
	sum, long := strings.Repeat("0123456789abcdef", 4), strings.Repeat("0123456789abcdef", 8)
	const short = "0123456789a"
	hosts := []string{"registry.example.com", "registry.example.com:5000/mirror", "registry.example.com:5000"}
	for text, want := range map[string]string{
		"":                                     "",
		" \t\r\n\n":                            "",
		"# nginx:1\n   # a":                    "",
		"\ufeffnginx:1.27":                     "1 docker.io/library/nginx:1.27 nginx:1.27",
		"nginx":                                "1 docker.io/library/nginx:latest nginx:latest",
		"a/b:t # c:d":                          "1 docker.io/a/b:t a/b:t",
		"docker.io/a/b:t":                      "1 docker.io/a/b:t",
		"index.docker.io/a/b:t":                "1 docker.io/a/b:t index.docker.io/a/b:t",
		"quay.io/a/b:t\r\nquay.io/a/b:u":       "1 quay.io/a/b:t; 2 quay.io/a/b:u",
		"quay.io/a:1 quay.io/b:1\tquay.io/a:1": "1 quay.io/a:1; 1 quay.io/b:1",
		"     12 quay.io/a:1\n  3 quay.io/b:1": "1 quay.io/a:1; 2 quay.io/b:1",
		"12":                                   "1 docker.io/library/12:latest 12:latest",
		"12 # 3":                               "1 docker.io/library/12:latest 12:latest",
		"host:5000/a/b:t":                      "1 host_5000/a/b:t",
		"registry.example.com:5000/a/b:t":      "1 docker.io/a/b:t a/b:t",
		"REGISTRY.example.com:5000/a/b:t":      "1 docker.io/a/b:t a/b:t",
		"registry.example.com:5000/mirror/quay.io/a:t":             "1 quay.io/a:t",
		"registry.example.com/quay.io/a:t":                         "1 quay.io/a:t",
		"registry.example.com.evil/quay.io/a:t":                    "1 registry.example.com.evil/quay.io/a:t",
		"docker://registry.example.com:5000/docker.io/library/x:t": "1 docker.io/library/x:t",
		"docker-pullable://quay.io/a@sha256:" + sum:                "1 " + sum,
		"quay.io/a:t@sha256:" + sum:                                "1 quay.io/a:t " + sum,
		"quay.io/a@sha512:" + long:                                 "1 " + long,
		"sha256:" + sum:                                            "1 " + sum,
		"docker-pullable://sha256:" + sum:                          "1 " + sum,
		"containerd://" + sum:                                      "1 " + sum,
		short + "b": "1 docker.io/library/" + short +
			"b:latest " + short + "b:latest " + short + "b",
		short: "1 docker.io/library/" + short +
			":latest " + short + ":latest",
		"<none>:<none> quay.io/a:<none> quay.io/a@<none> <none>@x y/z:1": "1 docker.io/y/z:1 y/z:1",
		"\x00":                           "! is not text",
		"\xff\xfen\x00":                  "! is not text",
		"nginx:1\nIMAGE":                 "!2 IMAGE is no reference",
		"docker:x/y:t":                   "!1 docker:x/y:t is no reference",
		"a@sha256:0":                     "!1 a@sha256:0 is no reference",
		`"nginx"`:                        `!1 "\"nginx\"" is no reference`,
		"a/" + strings.Repeat("x", 2000): "!1 a word of 2002 bytes",
		"REPOSITORY   TAG   IMAGE ID   CREATED   SIZE\nnginx 1 0123 2 3 ": "!1 REPOSITORY is no reference",
	} {
		list, err := (Format{}).Uses([]byte(text), hosts)
		var parts []string
		for _, u := range list {
			words := []string{fmt.Sprint(u.Line)}
			for _, n := range u.Names {
				words = append(words, Format{}.Ref(n))
			}
			if u.Hex != "" {
				words = append(words, u.Hex)
			}
			parts = append(parts, strings.Join(words, " "))
		}
		got := strings.Join(parts, "; ")
		if bad := new(catalog.UseError); errors.As(err, &bad) {
			line := ""
			if bad.Line > 0 {
				line = fmt.Sprint(bad.Line)
			}
			got = "!" + line + " " + bad.Fact
			if strings.HasPrefix(want, "!") && strings.HasPrefix(got, want) {
				continue
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestUsesBound(t *testing.T) {
	const text = "a:1 a:1\na:2\na:1 a:3\n"
	if list, err := uses([]byte(text), nil, 3); err != nil || len(list) != 3 {
		t.Errorf("three: %v, %v", list, err)
	}
	bad := new(catalog.UseError)
	if list, err := uses([]byte(text), nil, 2); !errors.As(err, &bad) || bad.Line != 3 || list != nil {
		t.Errorf("one more: %v, %v", list, err)
	}
}

func TestCheckHost(t *testing.T) {
	for host, ok := range map[string]bool{"registry.example.com": true, "localhost:5000": true, "[::1]:5000": false,
		"10.0.0.1:5000/mirror": true, "": false, "https://a": false, "a/": false, "/a": false, "a//b": false, "a b": false} {
		if problem := (Format{}).CheckHost(host); (problem == "") != ok {
			t.Errorf("%s: %q", host, problem)
		}
	}
}

func FuzzUses(f *testing.F) {
	f.Add("  3 docker-pullable://a/b@sha256:"+strings.Repeat("0", 64)+" # x\nhost:1/a:t", "host:1")
	f.Fuzz(func(t *testing.T, text, host string) {
		list, err := Format{}.Uses([]byte(text), []string{host})
		if bad := new(catalog.UseError); err != nil && (!errors.As(err, &bad) || len(list) > 0) {
			t.Fatal(err)
		}
		for _, u := range list {
			if u.Line < 1 || len(u.Names) == 0 && u.Hex == "" || u.Hex != "" && len(u.Hex) < 12 ||
				strings.Trim(u.Hex, "0123456789abcdef") != "" {
				t.Fatalf("%+v", u)
			}
		}
	})
}
