package oci

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// maxReference bounds a reference in an inventory, in bytes: a name, a tag and a
// digest have less than 600.
const maxReference = 1024

// maxUses bounds the different references of an inventory: each takes some hundred
// bytes of memory.
const maxUses = 500_000

var (
	scheme    = lazyregexp.New(`^[a-z][a-z0-9+.-]*://`) // docker-pullable://, docker://, containerd://
	counted   = lazyregexp.New(`^[0-9]+$`)
	shortHex  = lazyregexp.New(`^[0-9a-f]{12,128}$`)
	bareHash  = lazyregexp.New(`^sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})$`)
	plainHost = lazyregexp.New(`^[A-Za-z0-9]([A-Za-z0-9._:\[\]/-]*[A-Za-z0-9\]])?$`)
)

// CheckHost implements [catalog.Tagger].
func (Format) CheckHost(host string) string {
	switch {
	case scheme.MatchString(host):
		return "begins with a scheme: write the name as it stands in references, such as registry.example.com:5000"
	case !plainHost.MatchString(host) || strings.Contains(host, "//"):
		return "is not what a reference may begin with, such as registry.example.com:5000"
	}
	return ""
}

// Uses implements [catalog.Tagger]. References are separated by white space. A word
// that begins with # ends its line, and a number before others is a count, as uniq
// -c writes it. A reference is anything that Docker or a kubelet prints:
//
//	nginx:1.27  docker.io/kimai/kimai2:apache  docker://quay.io/a/b  host:5000/a/b:t
//	a/b@sha256:...  docker-pullable://a/b@sha256:...  a/b:t@sha256:...
//	sha256:...  4bcff63911fc
//
// A name is read as Docker reads it, and also as it stands: our repositories may have
// either. The first digits of a digest are enough, as docker ps prints them. What
// Docker prints as <none> says nothing, and is passed over.
func (Format) Uses(text []byte, hosts []string) ([]catalog.Use, error) {
	return uses(text, hosts, maxUses)
}

func uses(text []byte, hosts []string, most int) ([]catalog.Use, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, &catalog.UseError{Fact: "is not text"}
	}
	hosts = slices.Clone(hosts)
	slices.SortFunc(hosts, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // the longest first
	var out []catalog.Use
	seen := map[string]bool{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words := bytes.Fields(line)
		if i := slices.IndexFunc(words, func(w []byte) bool { return w[0] == '#' }); i >= 0 {
			words = words[:i]
		}
		if len(words) > 1 && counted.Match(words[0]) {
			words = words[1:]
		}
		for _, w := range words {
			if seen[string(w)] || bytes.Contains(w, []byte("<none>")) {
				continue
			}
			if len(out) == most {
				return nil, &catalog.UseError{Line: n, Fact: fmt.Sprintf("has more than %d references", most)}
			}
			word := string(w)
			seen[word] = true
			u, err := use(word, hosts)
			if err != nil {
				return nil, &catalog.UseError{Line: n, Fact: err.Error()}
			}
			u.Line = n
			out = append(out, u)
		}
	}
	return out, nil
}

// use reads one reference.
func use(word string, hosts []string) (u catalog.Use, err error) {
	if len(word) > maxReference {
		return u, fmt.Errorf("a word of %d bytes is no reference of an image", len(word))
	}
	name := scheme.ReplaceAllString(word, "")
	for _, h := range hosts {
		if len(name) > len(h) && name[len(h)] == '/' && strings.EqualFold(name[:len(h)], h) {
			name = name[len(h)+1:]
			break
		}
	}
	if bareHash.MatchString(name) {
		_, u.Hex, _ = strings.Cut(name, ":")
		return u, nil
	}
	named, err := ParseDockerName(name)
	if shortHex.MatchString(name) {
		u.Hex = name
		if err != nil {
			return u, nil
		}
	}
	if err != nil {
		return u, fmt.Errorf("%s is no reference of an image: %w", catalog.Show(word), err)
	}
	tag := named.Tag
	if named.Digest != "" {
		u.Hex = named.Digest.Encoded()
	} else if tag == "" {
		tag = "latest"
	}
	if tag == "" {
		return u, nil
	}
	written, _, _ := strings.Cut(name, "@")
	written, _, _ = cutTag(written)
	for _, repository := range []string{named.Name, written} {
		n := catalog.Name{Group: strings.ReplaceAll(repository, ":", "_"), Version: tag}
		if !slices.Contains(u.Names, n) {
			u.Names = append(u.Names, n)
		}
	}
	return u, nil
}
