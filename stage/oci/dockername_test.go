package oci

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

// dockerNames are what the grammar has rules for, right and wrong.
var dockerNames = []string{
	"", "alpine", "alpine:3", "a/b", "a/b/c:t", "library/a", "docker.io/a", "docker.io/a/b", "index.docker.io/a",
	"index.docker.io/a/b:t", "localhost/a", "LOCALHOST/a", "localhost:80/a", "host:80/a:t", "host:80", "host:/a", "host:x/a",
	"h.e/a", "h.e:1/a/b", "h..e/a", ".h/a", "h./a", "-h.e/a", "h-.e/a", "h_x.e/a", "a.b_c/d", "a.b__c/d:t", "a__b/c", "A_b/c",
	"Up/a", "Up.e/A", "UP", "a/B", "a:T", "a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129), "a:-t", "a:.t",
	"a:_t", "a:t-", "a:t.", "a:", "a:b:c", "a/b:c/d", ":a", "/a", "a/", "a//b", "a/.b", "a/b.", "a/b..c", "a/b.c", "a/b_c",
	"a/b__c", "a/b___c", "a/b-c", "a/b---c", "a/b-_c", "a/b-", "a/-b", "a/b_", "[::1]/a", "[::1]:80/a", "[::1]:/a", "[::1/a",
	"[]/a", "[::g]/a", "[fe80::1%eth0]/a", "[::1]x/a", "x[::1]/a", "a b", "a\n", "a\x00", "ä", "a/ä", "a:\u212a", "\u212a/a",
	"a/\u212a", "h.e/a:\u0130", "\xff", "h.e/\xff", "@", "a@", "a@b", "a@b@c", "a@b/c", "a@sha256:" + hex64,
	"a:t@sha256:" + hex64, "a@sha256:" + hex64[1:], "a@sha256:" + strings.ToUpper(hex64), "a@sha512:" + hex64 + hex64,
	"a@sha384:" + hex64[:32] + hex64, "a@md5:" + hex64[:32], "a@md5:" + hex64[:31], "a@x+y.z-a_b:" + hex64, "a@x+:" + hex64,
	"a@+x:" + hex64, "a@x++y:" + hex64, "a@9x:" + hex64, "a@x+9:" + hex64, "a@x9:" + hex64, "a@:" + hex64, "a@sha256:zz" + hex64,
	"A@sha256:" + hex64, "sha256:" + hex64, hex64, strings.ToUpper(hex64), hex64[1:], "a/" + hex64, hex64 + ":t",
	"h.e/" + strings.Repeat("a", 255), "h.e/" + strings.Repeat("a", 256), strings.Repeat("a", 247), strings.Repeat("a", 248),
	"h_x.e/" + strings.Repeat("a", 249), "h_x.e/" + strings.Repeat("a", 250), "http://h.e/a", "docker://a", "a:80/b@sha256:" + hex64,
}

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// A name is read as the library reads it, whose grammar Docker has, and refused in its words.
func TestDockerName(t *testing.T) {
	for _, s := range dockerNames {
		sameName(t, s)
		for i := range min(len(s), 24) { // and with a character more, less, or another
			for _, c := range []string{"", ":", "/", "@", ".", "_", "-", "A", "[", "]", "0", "\u212a"} {
				sameName(t, s[:i]+c+s[i:])
				sameName(t, s[:i]+c+s[i+1:])
			}
		}
	}
}

func FuzzDockerName(f *testing.F) {
	for _, s := range dockerNames {
		f.Add(s)
	}
	f.Fuzz(sameName)
}

func sameName(t *testing.T, s string) {
	t.Helper()
	var want DockerName
	named, wantErr := reference.ParseNormalizedNamed(s)
	if wantErr == nil {
		want.Host, want.Name = reference.Domain(named), named.Name()
		if tagged, ok := named.(reference.Tagged); ok {
			want.Tag = tagged.Tag()
		}
		if digested, ok := named.(reference.Digested); ok {
			want.Digest = digested.Digest()
		}
	}
	got, err := ParseDockerName(s)
	if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Fatalf("%q: the error is %v, that of the library %v", s, err, wantErr)
	}
	if got != want {
		t.Fatalf("%q: is %+v, by the library %+v", s, got, want)
	}
}
