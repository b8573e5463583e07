package catalog

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"unicode"
)

// Name is one version of an image: a simplestreams product and its version, an OCI
// repository and its tag. Format.Ref is how people write it.
type Name struct{ Group, Version string }

// String is group/version; the group alone of a Name without a version. It is the
// Ref of formats that have no form of their own.
func (n Name) String() string {
	if n.Version == "" {
		return n.Group
	}
	return n.Group + "/" + n.Version
}

// OwnRef is a format's Ref of a name for a record that has the name beside it; ""
// where it is what String returns.
func OwnRef(f Format, n Name) string {
	if ref := f.Ref(n); ref != n.String() {
		return ref
	}
	return ""
}

// Names are a set of names. The version "" stands for a group without versions.
type Names map[Name]bool

// Digest names bytes by their hash.
type Digest struct {
	Algorithm string // SHA256 or SHA512
	Hex       string // lower case
}

// The algorithms of a Digest. Rows, tree ids and the cache of hashes are sha256
// only; another one is what an index says about an item.
const (
	SHA256 = "sha256"
	SHA512 = "sha512"
)

// String is algorithm:hex, "" of the zero Digest.
func (d Digest) String() string {
	if d == (Digest{}) {
		return ""
	}
	return d.Algorithm + ":" + d.Hex
}

// Check returns what is wrong with a digest from outside. A digest that passes may
// stand in a path.
func (d Digest) Check() error {
	size := 0
	switch d.Algorithm {
	case SHA256:
		size = sha256.Size
	case SHA512:
		size = sha512.Size
	default:
		return fmt.Errorf("has the unknown algorithm %q", d.Algorithm)
	}
	odd := len(d.Hex) != 2*size
	for i := 0; i < len(d.Hex) && !odd; i++ {
		c := d.Hex[i]
		odd = (c < '0' || c > '9') && (c < 'a' || c > 'f')
	}
	if odd {
		return fmt.Errorf("is not %d lower-case hex digits", 2*size)
	}
	return nil
}

// New returns the hash that the digest is a sum of. The error is that of Check.
func (d Digest) New() (hash.Hash, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	if d.Algorithm == SHA512 {
		return sha512.New(), nil
	}
	return sha256.New(), nil
}

// Is reports whether data has the digest.
func (d Digest) Is(data []byte) bool {
	var text [2 * sha512.Size]byte
	switch d.Algorithm {
	case SHA256:
		sum := sha256.Sum256(data)
		return string(hex.AppendEncode(text[:0], sum[:])) == d.Hex
	case SHA512:
		sum := sha512.Sum512(data)
		return string(hex.AppendEncode(text[:0], sum[:])) == d.Hex
	}
	return false
}

// ParseDigest is the reverse of String, for text from outside.
func ParseDigest(s string) (Digest, error) {
	algorithm, digits, ok := strings.Cut(s, ":")
	d := Digest{algorithm, digits}
	if !ok {
		return Digest{}, errors.New("has no algorithm")
	}
	if err := d.Check(); err != nil {
		return Digest{}, err
	}
	return d, nil
}

// Show is a name from an index as a message can carry it: quoted where it would
// be misread.
func Show(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == '"' || r == unicode.ReplacementChar }
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}
