package upstream

import (
	"net/url"
	"path"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/glob"
	"example.com/publish/stage/remote"
)

// named is a Remote with its parts.
type named struct {
	catalog.Remote
	url     *url.URL
	product string // a pattern
	version string // likewise; "" for all
}

// Parse implements [catalog.Upstream]. A name is URL#PRODUCT or URL#PRODUCT/VERSION, with
// patterns for product and version. The URL is that of the tree, or of its index.
func (u *Upstream) Parse(text string) (catalog.Remote, error) {
	n, err := parse(text)
	n.Text = text
	return n.Remote, err
}

// indexEnding is what people copy with the URL of a tree.
const indexEnding = "/streams/v1/index.json"

func parse(text string) (named, error) {
	word := strings.TrimSpace(text)
	n, fact := read(word)
	if fact == "" {
		return n, nil
	}
	hint := "write it as URL#PRODUCT or URL#PRODUCT/VERSION, such as https://images.example.com#debian:*"
	if g := guess(word); g != "" {
		hint = "did you mean " + catalog.Show(g) + "?"
	} else if !strings.Contains(word, "#") && !strings.Contains(word, "://") {
		hint = "a repository of format oci takes the names of registries; " + hint
	}
	return named{}, catalog.Usage(hint, "%s: is no name of images on a simplestreams server: %s", shown(text), fact)
}

// read is parse without a guess: what is wrong with the name is the fact; "" for nothing.
func read(word string) (n named, fact string) {
	at, pattern, ok := strings.Cut(word, "#")
	if !ok {
		return n, "it has no #, behind which the product stands"
	}
	base, err := catalog.CanonicalURL(trimmed(at))
	if err != nil {
		return n, "what stands before the # " + err.Error()
	}
	n.url = base
	var whole bool
	n.product, n.version, whole = strings.Cut(pattern, "/")
	switch {
	case n.product == "":
		return n, "no product stands behind the #"
	case whole && n.version == "":
		return n, "no version stands behind the slash"
	case strings.Contains(n.version, "/"):
		return n, "more than a product and a version stand behind the #"
	}
	for _, p := range []string{n.product, n.version} {
		if _, problem, ok := catalog.Clean("x" + p); !ok {
			return n, "the pattern " + problem
		}
		if err := glob.CheckPart(p); err != nil {
			return n, "the pattern " + catalog.Show(p) + " " + err.Error()
		}
	}
	n.Host = base.Host
	n.Name = prefix(base) + n.product
	n.Canonical = base.String() + "#" + pattern
	return n, ""
}

// trimmed is a URL without what people copy with it.
func trimmed(at string) string {
	at = strings.TrimRight(at, "/")
	return strings.TrimSuffix(strings.TrimSuffix(at, indexEnding), strings.TrimSuffix(indexEnding, ".json")+".sjson")
}

// prefix is what stands before a product in the whole name of it.
func prefix(base *url.URL) string { return base.Host + base.Path + "/" }

// guess is the name that somebody may have meant; "" for none.
func guess(word string) string {
	at, pattern, _ := strings.Cut(word, "#")
	scheme, _, whole := strings.Cut(at, "://")
	at = strings.Map(func(r rune) rune {
		if strings.ContainsRune("\u3000\u00a0\u200b\ufeff \t\"'`", r) {
			return -1
		}
		return r
	}, at)
	switch {
	case !whole && pattern != "" && strings.Contains(at, "."):
		at = "https://" + at
	case whole && scheme != "http" && scheme != "https":
		return ""
	case !whole:
		return ""
	}
	at, _, _ = strings.Cut(at, "?")
	base, err := catalog.CanonicalURL(trimmed(at))
	if err != nil {
		return ""
	}
	if strings.Trim(pattern, "/") == "" {
		pattern = "*"
	}
	pattern = strings.Trim(pattern, "/")
	again, fact := read(base.String() + "#" + pattern)
	if fact != "" {
		return ""
	}
	return again.Canonical
}

// shown is a text as a message can carry it, without the password of a URL.
func shown(text string) string {
	const most = 300
	if len(text) > most {
		text = text[:most] + "..."
	}
	return catalog.Show(remote.Clean(strings.ReplaceAll(text, "#", " # ")))
}

// matches reports whether a pattern stands for a name. * stands for any run of characters,
// a slash too.
func matches(pattern, name string) bool {
	const slash = "\x00" // no name of JSON that people write has it
	ok, err := path.Match(pattern, strings.ReplaceAll(name, "/", slash))
	return err == nil && ok
}

// Match implements [catalog.Selector].
func (u *Upstream) Match(r catalog.Remote, product, version string) bool {
	n, err := parse(r.Canonical)
	return err == nil && matches(n.product, product) && n.takes(version)
}

func (n named) takes(version string) bool { return n.version == "" || matches(n.version, version) }

// CheckPlatforms implements [catalog.PlatformChecker]: there are none.
func (u *Upstream) CheckPlatforms(list []string) error {
	if len(list) == 0 {
		return nil
	}
	return catalog.Usage("--filter arch=amd64 takes those of one architecture",
		"%s: images of simplestreams servers have no platforms", catalog.Show(list[0]))
}
