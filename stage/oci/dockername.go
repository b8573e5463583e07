package oci

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// DockerName is the name of an image as Docker reads it.
type DockerName struct {
	Host   string        // with its port; "" if the name has none that could be one
	Name   string        // with the host
	Tag    string        // "" for none
	Digest digest.Digest // "" for none
}

// The errors that a name is refused with.
var (
	errNameForm = errors.New("invalid reference format")
	errNameCase = errors.New("repository name must be lowercase")
	errNameLong = fmt.Errorf("repository name must not be more than %d characters", maxName)
)

// ParseDockerName reads a name as Docker does: alpine is docker.io/library/alpine. It accepts what
// ParseNormalizedNamed of github.com/distribution/reference does, says the same of it, and has the same
// errors; TestDockerName and FuzzDockerName compare both. The library compiles its grammar, eight regular
// expressions, whenever a program starts: of all packages it took the longest, in each command.
func ParseDockerName(s string) (DockerName, error) {
	if len(s) == 64 && only(s, isLowerHex) {
		return DockerName{}, fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	host, rest := dockerHost(s)
	path, _, _ := strings.Cut(rest, ":")
	if strings.ToLower(path) != path {
		return DockerName{}, fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", path)
	}
	n, hex, ok := splitDockerName(host + "/" + rest)
	if !ok {
		if _, _, ok := splitDockerName(strings.ToLower(host + "/" + rest)); ok {
			return DockerName{}, errNameCase
		}
		return DockerName{}, errNameForm
	}
	if path := strings.TrimPrefix(n.Name, n.Host+"/"); len(path) > maxName {
		return DockerName{}, errNameLong
	}
	if hex != "" {
		var err error
		if n.Digest, err = digest.Parse(hex); err != nil {
			return DockerName{}, err
		}
	}
	return n, nil
}

// dockerHost parts the host from a name, which may lack it, and the first part of the path on Docker Hub.
func dockerHost(s string) (host, rest string) {
	const hub, official = "docker.io", "library/"
	first, below, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return hub, official + s
	case first == "index.docker.io":
		host, rest = hub, below
	case first == "localhost", strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
		host, rest = first, below
	default:
		host, rest = hub, s
	}
	if host == hub && !strings.Contains(rest, "/") {
		rest = official + rest
	}
	return host, rest
}

// splitDockerName parts [HOST[:PORT]/]PATH[:TAG][@DIGEST]. ok is false for what is none.
func splitDockerName(s string) (n DockerName, hex string, ok bool) {
	s, hex, pinned := strings.Cut(s, "@")
	if pinned && !isDigest(hex) {
		return n, "", false
	}
	if at := strings.LastIndexByte(s, ':'); at > strings.LastIndexByte(s, '/') {
		if s, n.Tag = s[:at], s[at+1:]; !isTag(n.Tag) {
			return n, "", false
		}
	}
	n.Name = s
	if first, path, ok := strings.Cut(s, "/"); ok && isHostPort(first) && isPath(path) {
		n.Host = first
		return n, hex, true
	}
	return n, hex, isPath(s)
}

// isHostPort reports whether it is a name of the DNS, or an IPv6 address in brackets, with a port or without.
func isHostPort(s string) bool {
	if at := strings.LastIndexByte(s, ':'); at > strings.LastIndexByte(s, ']') {
		if at+1 == len(s) || !only(s[at+1:], isDigit) {
			return false
		}
		s = s[:at]
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && inner != "" && only(inner, func(c byte) bool { return c == ':' || isHex(c) })
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' ||
			!only(label, func(c byte) bool { return c == '-' || isAlphanumeric(c) }) {
			return false
		}
	}
	return true
}

// isPath reports whether it is parts between slashes, each of lower-case letters and digits with one dot, one or
// two underscores, or dashes between them.
func isPath(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		for {
			n := span(part, isLowerAlphanumeric)
			if n == 0 {
				return false
			}
			if part = part[n:]; part == "" {
				break
			}
			switch n = span(part, func(c byte) bool { return c == '-' }); {
			case n > 0:
			case part[0] == '.':
				n = 1
			case strings.HasPrefix(part, "__"):
				n = 2
			case part[0] == '_':
				n = 1
			default:
				return false
			}
			part = part[n:]
		}
	}
	return true
}

// isTag reports whether s is a tag, as the distribution specification has them.
func isTag(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && s[0] != '-' &&
		only(s, func(c byte) bool { return c == '_' || c == '.' || c == '-' || isAlphanumeric(c) })
}

// isDigest reports whether it is an algorithm, of words between one of -_+. each, and at least 32 hex digits.
func isDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || len(hex) < 32 || !only(hex, isHex) {
		return false
	}
	start := true
	for i := range len(algorithm) {
		switch c := algorithm[i]; {
		case isAlphanumeric(c) && !(start && isDigit(c)):
			start = false
		case !start && strings.IndexByte("-_+.", c) >= 0:
			start = true
		default:
			return false
		}
	}
	return !start
}

// span is how many of the first bytes are such.
func span(s string, is func(byte) bool) int {
	for i := range len(s) {
		if !is(s[i]) {
			return i
		}
	}
	return len(s)
}

func only(s string, is func(byte) bool) bool { return span(s, is) == len(s) }

func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isLowerHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' }
func isHex(c byte) bool      { return isLowerHex(c) || 'A' <= c && c <= 'F' }

func isLowerAlphanumeric(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'z' }
func isAlphanumeric(c byte) bool      { return isLowerAlphanumeric(c) || 'A' <= c && c <= 'Z' }
