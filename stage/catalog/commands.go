package catalog

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Command is what a person types to get an image, or a remark about that.
type Command struct {
	Label string // what it does, as a heading; a remark if there is no Text. May be ""
	Text  string // for a shell, on one line
}

// Address is where a server has a tree.
type Address struct {
	URL string // https://images.example.org/base, without a slash at its end
}

// Secure reports whether clients speak TLS there.
func (a Address) Secure() bool { return strings.HasPrefix(a.URL, "https://") }

// Host is its host, with the port if it is not the usual one.
func (a Address) Host() string {
	_, rest, _ := strings.Cut(a.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// Remote is a short name for it that clients accept as one of a remote.
func (a Address) Remote() string {
	host, _, _ := strings.Cut(a.Host(), ":")
	if host == "" || strings.HasPrefix(host, "[") { // a name has no colons
		return "mirror"
	}
	return host
}

// Of is the URL of a path of the tree.
func (a Address) Of(path string) string {
	u := url.URL{Path: "/" + path}
	return a.URL + u.EscapedPath()
}

// Shell returns words as a shell reads them; "" if one of them has characters that a
// person would not see: names come from outside, and a command is copied.
func Shell(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		if !utf8.ValidString(w) || strings.ContainsFunc(w, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return ""
		}
		if out[i] = w; w == "" || strings.ContainsFunc(w, special) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// special reports whether a shell may take a character for something else than itself.
func special(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./:=@%+,-", r))
}

// Commands returns those of the commands that have a text.
func Commands(list ...Command) []Command {
	out := make([]Command, 0, len(list))
	for _, c := range list {
		if c.Text != "" {
			out = append(out, c)
		}
	}
	return out
}
