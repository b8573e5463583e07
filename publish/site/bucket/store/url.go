package store

import (
	"fmt"
	"net"
	"strings"
	"unicode/utf8"

	"example.com/publish/publish/fault"
)

// Location is where production lies in a store.
type Location struct{ Bucket, Prefix string }

func (l Location) String() string {
	return strings.TrimSuffix("s3://"+l.Bucket+"/"+l.Prefix, "/")
}

// ParseURL reads s3://BUCKET/PREFIX. Slashes at the ends of the prefix, and double ones, do
// not count.
func ParseURL(text string) (Location, error) {
	shown := text
	bad := func(fact, hint string) (Location, error) {
		return Location{}, &fault.Error{Kind: fault.Usage, Path: shown, Fact: fact, Hint: hint}
	}
	const form = "write s3://BUCKET or s3://BUCKET/PREFIX"
	rest, ok := strings.CutPrefix(text, "s3://")
	if !ok {
		return bad("is not the address of a bucket", form)
	}
	name, prefix, _ := strings.Cut(rest, "/")
	if _, host, ok := cutLast(name, "@"); ok {
		shown = "s3://...@" + host // never show a password
		return bad("has a user or password", "credentials come from the environment: AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials")
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		return bad(fmt.Sprintf("must not have %q", rest[i]), "what a store needs stands below s3 in publish.yaml")
	}
	if fact := badBucket(name); fact != "" {
		return bad(fact, form)
	}
	var parts []string
	for part := range strings.SplitSeq(prefix, "/") {
		switch {
		case part == "":
			continue
		case part == "." || part == "..":
			return bad(fmt.Sprintf("has the part %q", part), form)
		}
		parts = append(parts, part)
	}
	prefix = strings.Join(parts, "/")
	switch {
	case !utf8.ValidString(prefix), strings.ContainsFunc(prefix, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("has a character that is none of a name", form)
	case strings.ContainsAny(prefix, `\%`):
		return bad(`must not have \ or %`, "the prefix is written as it is, without escapes")
	case len(prefix) > 512:
		return bad("has a prefix of more than 512 bytes", "a key has at most 1,024 bytes, the prefix included")
	}
	return Location{name, prefix}, nil
}

// badBucket says what is wrong with the name of a bucket. The rules are those that all
// stores share; old buckets of AWS, and some stores, also have capitals and _.
func badBucket(name string) string {
	switch {
	case name == "":
		return "names no bucket"
	case strings.Contains(name, ":"):
		return "has a port: the address of a store is s3.endpoint"
	case len(name) < 3 || len(name) > 255:
		return "names a bucket of fewer than 3 or more than 255 characters"
	case strings.Contains(name, "..") || strings.Trim(name, ".-") != name:
		return "names a bucket that begins or ends with . or -, or has .."
	case net.ParseIP(name) != nil:
		return "names an address, not a bucket: the address of a store is s3.endpoint"
	}
	for _, r := range name {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(".-_", r)) {
			return fmt.Sprintf("names a bucket with %q", r)
		}
	}
	return ""
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
