package oci

import (
	"fmt"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// Reference is what people call an image.
type Reference struct {
	Repository string         // where it lies in a tree, such as docker.io/library/alpine
	Tag        string         // "" for none
	Defaulted  bool           // the tag is latest since none was given
	Digest     catalog.Digest // zero for none
}

// Name is the repository with the tag, or with the digest if there is no tag.
func (r Reference) Name() string {
	if r.Tag == "" {
		return r.Repository + "@" + r.Digest.String()
	}
	return r.Repository + ":" + r.Tag
}

// version is the version that it is in the catalog.
func (r Reference) version() string {
	if r.Tag == "" {
		return untagged(r.Digest)
	}
	return r.Tag
}

// Spell is the name that Docker makes of a word: app is docker.io/library/app.
func (Format) Spell(word string) string {
	r, err := ParseReference(word)
	switch {
	case err != nil:
		return ""
	case r.Defaulted:
		return r.Repository
	case r.Digest != (catalog.Digest{}):
		return r.Repository + "@" + r.Digest.String()
	}
	return r.Name()
}

// digestError is the error for an image that a name with a digest was given for.
func digestError(name, digest string) error {
	return fmt.Errorf("%s: %w: the image is %s", name, catalog.ErrDigest, digest)
}

// hostWithPort is how a host with a port stands in a tree. No account of Docker Hub has
// such a name.
var hostWithPort = lazyregexp.New(`^([A-Za-z0-9.-]+)_([0-9]{1,5})/`)

// ParseReference reads a reference as Docker does: alpine is
// docker.io/library/alpine:latest. A digest without a tag needs none. A host with a
// port, host:5000/x, lies at host_5000/x, for a name in a registry has no colon; that
// is its name from then on.
func ParseReference(s string) (Reference, error) {
	text := s
	if m := hostWithPort.FindStringSubmatch(s); m != nil {
		text = m[1] + ":" + m[2] + s[len(m[0])-1:]
	}
	named, err := ParseDockerName(text)
	if err != nil {
		return Reference{}, catalog.Usage("write it as Docker does, such as docker.io/library/alpine:3.20",
			"%s: is no reference: %v", catalog.Show(s), err)
	}
	if rest, ok := strings.CutPrefix(s, "sha256:"); ok && !strings.Contains(rest, "/") {
		return Reference{}, catalog.Usage("put the repository before it: NAME@"+s, "%s: is a digest without a name", s)
	}
	r := Reference{Repository: strings.ReplaceAll(named.Name, ":", "_"), Tag: named.Tag}
	if named.Digest != "" {
		if r.Digest, err = catalog.ParseDigest(named.Digest.String()); err != nil {
			return Reference{}, catalog.Usage("", "%s: the digest %v", catalog.Show(s), err)
		}
	} else if r.Tag == "" {
		r.Tag, r.Defaulted = "latest", true
	}
	if why := checkRepository(r.Repository); why != "" {
		return Reference{}, catalog.Usage("", "%s: %s", catalog.Show(s), why)
	}
	for part := range strings.SplitSeq(r.Repository, "/") {
		if part == blobsName || part == indexName || part == layoutName {
			return Reference{}, catalog.Usage("give it another name: --name",
				"%s: the part %s of the name is that of a file in a layout", catalog.Show(s), part)
		}
	}
	return r, nil
}

// fullName reads a name that a tool recorded of the image with a digest. ok is false
// for one without a repository, or with neither a tag nor that digest.
func fullName(s, digest string) (r Reference, ok bool) {
	if !strings.ContainsAny(s, "/:") {
		return r, false
	}
	r, err := ParseReference(s)
	if err != nil || r.Defaulted || r.Digest != (catalog.Digest{}) && r.Digest.String() != digest {
		return Reference{}, false
	}
	return r, true
}
