package registry

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"example.com/publish/stage/catalog"
)

// tries is how often a document is asked for that is not what it should be: a login page, or
// bytes that a proxy broke, may come once.
const tries = 3

// resolve asks what a name stands for. want is a digest that it must have; zero: any, and the
// tag counts. The digest is that of the bytes. Where the server's header has another one, the
// bytes count if they come twice.
func (s *source) resolve(ctx context.Context, tag string, want catalog.Digest) (a answer, err error) {
	ref, hashed := tag, catalog.Digest{Algorithm: catalog.SHA256}
	if want != (catalog.Digest{}) {
		ref, hashed = want.String(), want
	}
	var before catalog.Digest
	for try := 1; ; try++ {
		data, resp, err := s.document(ctx, question{kind: manifests, ref: ref})
		if err != nil {
			return answer{}, err
		}
		a = answer{data: data, digest: digestOf(hashed.Algorithm, data), mediaType: resp.Header.Get("Content-Type")}
		said, bad := catalog.ParseDigest(resp.Header.Get("Docker-Content-Digest"))
		other := bad == nil && said.Algorithm == a.digest.Algorithm && said != a.digest
		var wrong error
		switch {
		case want != (catalog.Digest{}) && a.digest != want:
			wrong = s.failed(catalog.WrongDigest, "the server has %s under the digest %s", a.digest, want)
		case !json.Valid(data):
			wrong = s.failed(catalog.WrongType, "what the server has under %s is no JSON, but %s", ref,
				catalog.Show(http.DetectContentType(data)))
		case !other || a.digest == before || want == a.digest || try == tries:
			return a, nil
		}
		if wrong != nil && try == tries {
			return answer{}, wrong
		}
		before = a.digest
	}
}

// digestOf is the digest of some bytes. The algorithm is one of package catalog.
func digestOf(algorithm string, data []byte) catalog.Digest {
	d := catalog.Digest{Algorithm: algorithm}
	if algorithm == catalog.SHA512 {
		sum := sha512.Sum512(data)
		d.Hex = hex.EncodeToString(sum[:])
	} else {
		sum := sha256.Sum256(data)
		d.Hex = hex.EncodeToString(sum[:])
	}
	return d
}

// moved returns what the tag stands for now, if that is another digest than the one that was
// pinned. A failure does not matter: all is there.
func (s *source) moved(ctx context.Context, pinned catalog.Digest) catalog.Digest {
	if s.tag == "" || s.remote.Pinned != (catalog.Digest{}) {
		return catalog.Digest{}
	}
	resp, err := s.ask(ctx, question{method: http.MethodHead, kind: manifests, ref: s.tag,
		header: http.Header{"Accept": {accepted}}})
	if err == nil {
		_ = resp.Body.Close()
		if resp.Header.Get("Docker-Content-Digest") == pinned.String() {
			return catalog.Digest{}
		}
	}
	a, err := s.resolve(ctx, s.tag, catalog.Digest{})
	if err != nil || digestOf(pinned.Algorithm, a.data) == pinned {
		return catalog.Digest{}
	}
	if _, err := s.read(a.data, a.mediaType, false); err != nil {
		return catalog.Digest{}
	}
	return a.digest
}
