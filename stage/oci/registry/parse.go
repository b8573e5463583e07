package registry

import (
	_ "crypto/sha256" // of the digests that a name may have
	_ "crypto/sha512" // likewise
	"net/url"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/remote"
)

// named is a Remote with its parts.
type named struct {
	catalog.Remote
	tag string // "" for none
}

// Parse implements [catalog.Upstream]. It reads a name as Docker does; docker:// may stand
// before it, and docker: too where Docker itself could not read that: docker:27 is the image
// docker with the tag 27. A host is lowered, and all names of Docker Hub are docker.io.
func (g *Registry) Parse(text string) (catalog.Remote, error) {
	n, err := parse(text)
	n.Text = text
	return n.Remote, err
}

func parse(text string) (named, error) {
	word := strings.TrimSpace(text)
	n, err := read(word)
	if rest, ok := strings.CutPrefix(word, "docker:"); ok {
		if short, ok := strings.CutPrefix(rest, "//"); ok {
			n, err = read(short)
		} else if err != nil {
			n, err = read(rest)
		}
	}
	if err == nil {
		return n, nil
	}
	hint := "write it as Docker does, such as docker.io/library/alpine:3.20"
	if strings.HasPrefix(word, ":") || strings.HasPrefix(word, "@") || bareDigest(word) {
		hint = "put the name before it, such as docker.io/library/alpine" + separator(word) + word
		hint = catalog.Show(hint[:min(len(hint), 200)])
	} else if strings.Contains(word, "://") && strings.Contains(word, "#") {
		hint = "a repository of format simplestreams takes URL#PRODUCT"
	} else if g := guess(word); g != "" {
		hint = "did you mean " + g + "?"
	}
	return named{}, catalog.Usage(hint, "%s: is no image of a registry: %v", shown(text), err)
}

// shown is a name as a message can carry it, without the password of a URL.
func shown(text string) string {
	const most = 300
	if len(text) > most {
		text = text[:most] + "..."
	}
	return catalog.Show(remote.Clean(text))
}

func bareDigest(s string) bool {
	return strings.HasPrefix(s, "sha256:") || strings.HasPrefix(s, "sha512:")
}

func separator(s string) string {
	if bareDigest(s) {
		return "@"
	}
	return ""
}

// The host of Docker Hub in names, and where it is asked.
const (
	hub       = "docker.io"
	hubServer = "registry-1.docker.io"
)

// hubNames are all names of Docker Hub.
var hubNames = map[string]bool{hub: true, hubServer: true, "index.docker.io": true, "registry.hub.docker.com": true}

// read is parse for a name without anything around it.
func read(word string) (n named, err error) {
	if bareDigest(word) && !strings.Contains(word, "/") {
		return n, errNoName
	}
	host, rest, ok := strings.Cut(word, "/")
	if ok && isHost(host) {
		host = strings.ToLower(host)
		if hubNames[host] {
			host = hub
		}
		word = host + "/" + rest
	} else if ok && host != strings.ToLower(host) {
		return n, errUpper // the library takes it for a host
	}
	ref, err := oci.ParseDockerName(word)
	if err != nil {
		return n, plain(err)
	}
	n.Host, n.Name, n.tag = ref.Host, ref.Name, ref.Tag
	if n.Host == "hub.docker.com" {
		return n, errWebsite
	}
	n.Canonical = n.Name
	pinned := ref.Digest != ""
	if pinned {
		if n.Pinned, err = catalog.ParseDigest(ref.Digest.String()); err != nil {
			return named{}, err
		}
	} else if n.tag == "" {
		n.tag = "latest"
	}
	if n.tag != "" {
		n.Canonical += ":" + n.tag
	}
	if pinned {
		n.Canonical += "@" + n.Pinned.String()
	}
	return n, nil
}

// isHost reports whether the first part of a name is a host: it has a dot or a port, or is
// localhost.
func isHost(part string) bool {
	return strings.ContainsAny(part, ".:") || strings.EqualFold(part, "localhost")
}

// plain is an error of the library in the words of people.
func plain(err error) error {
	text := strings.TrimPrefix(err.Error(), "invalid reference format: ")
	if text == "invalid reference format" {
		return errForm
	}
	return nameError(text)
}

// nameError is what is wrong with a name.
type nameError string

func (e nameError) Error() string { return string(e) }

const (
	errNoName  = nameError("it is a digest without a name")
	errUpper   = nameError("a repository has no upper-case letters")
	errWebsite = nameError("that is the website of Docker Hub")
	errForm    = nameError("it does not have the form HOST/REPOSITORY:TAG")
)

// odd are characters that people type or paste instead of others.
var odd = strings.NewReplacer("\uff1a", ":", "\uff0f", "/", "\uff20", "@", "\uff0e", ".", "\u3002", ".", ";", "/",
	"\uff1b", "/", "\\", "/", "\u3000", "", "\u00a0", "", "\u200b", "", "\ufeff", "", " ", "", "\t", "", "\"", "",
	"'", "", "`", "")

// asked is a command that was pasted with the name.
var asked = lazyregexp.New(`^(sudo +)?(docker|podman|nerdctl|crictl) +(image +)?(pull|run) +`)

// guess is the name that somebody may have meant; "" for none.
func guess(word string) string {
	word = asked.ReplaceAllString(word, "")
	word = odd.Replace(strings.TrimPrefix(strings.TrimPrefix(word, "docker://"), "docker:"))
	try := []string{word}
	if scheme, rest, ok := strings.Cut(word, "://"); ok && !strings.Contains(scheme, "/") {
		try = []string{page(rest)}
	} else if strings.HasPrefix(word, "hub.docker.com/") {
		try = []string{page(word)}
	}
	trimmed := strings.TrimRight(strings.TrimLeft(try[0], "/"), "/.:@,")
	try = append(try, trimmed, lowered(trimmed))
	for _, t := range try {
		if n, err := read(t); err == nil {
			return n.Canonical
		}
	}
	return ""
}

// lowered is a name with a repository of lower-case letters.
func lowered(word string) string {
	name, digest, pinned := strings.Cut(word, "@")
	at := strings.LastIndexByte(name, ':')
	if at < strings.LastIndexByte(name, '/') || at < 0 {
		at = len(name)
	}
	name = strings.ToLower(name[:at]) + name[at:]
	if pinned {
		name += "@" + digest
	}
	return name
}

// page is the image that a web page is about, by its URL without the scheme.
func page(rest string) string {
	rest, _, _ = strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "#")
	if at := strings.LastIndexByte(rest[:max(0, strings.IndexByte(rest, '/'))], '@'); at >= 0 {
		rest = rest[at+1:] // a user
	}
	if plain, err := url.PathUnescape(rest); err == nil {
		rest = plain
	}
	host, path, _ := strings.Cut(strings.TrimRight(rest, "/"), "/")
	parts := strings.Split(path, "/")
	switch host = strings.ToLower(host); {
	case host == "hub.docker.com" && parts[0] == "_" && len(parts) > 1:
		return parts[1]
	case host == "hub.docker.com" && parts[0] == "r" && len(parts) > 2:
		return parts[1] + "/" + parts[2]
	case host == "hub.docker.com":
		return ""
	case host == "quay.io" && parts[0] == "repository" && len(parts) > 2:
		return host + "/" + strings.Join(parts[1:3], "/")
	}
	return host + "/" + strings.TrimPrefix(path, "v2/")
}
