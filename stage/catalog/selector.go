package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// A Selector is an Upstream whose names are patterns: they stand for versions of
// products, and for others as time passes. So its jobs select anew each time, and are
// about what was selected. Its Pin selects all that a name stands for.
type Selector interface {
	Upstream
	// CheckFilters reads what people wrote for FetchRequest.Filters. The error is a
	// *UsageError.
	CheckFilters(list []string) error
	// Match reports whether a name stands for a version of a product, by their names.
	Match(r Remote, product, version string) bool
}

// SelectionDigest is a digest of what was selected: the sha256 of the text that has, for
// each item of each version, one line of its product, its version and its name, each as a
// string of JSON, and its sha256, with a space between them. The lines are sorted by their
// bytes, and each ends in a newline.
func SelectionDigest(versions []FetchedVersion) Digest {
	var lines []string
	for _, v := range versions {
		for name, sum := range v.Files {
			lines = append(lines, fmt.Sprintf("%s %s %s %s\n", jsonString(v.Product), jsonString(v.Version),
				jsonString(name), sum))
		}
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, line := range lines {
		h.Write([]byte(line)) // it never fails
	}
	return Digest{Algorithm: SHA256, Hex: hex.EncodeToString(h.Sum(nil))}
}

// jsonString is a text as JSON has it.
func jsonString(s string) string {
	data, _ := json.Marshal(s) // a string always encodes
	return string(data)
}

// CanonicalURL returns the one form in which the URL of a server is compared: scheme and
// host lowered, without the default port, and without a slash at the end. The error goes
// on where the URL was printed.
func CanonicalURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("is no URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("is no URL of http or https")
	case u.User != nil:
		return nil, errors.New("has a user: the key credentials names a file for that")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return nil, errors.New("has more than a path")
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	clean := strings.TrimSuffix(path.Clean("/"+u.Path), "/")
	return &url.URL{Scheme: u.Scheme, Host: host, Path: clean}, nil
}

// DeniedError is what Fetch of a Selector returns if Allow lets nothing come that a name
// stands for.
type DeniedError struct{ Why string }

func (e *DeniedError) Error() string { return e.Why }
