package serve

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"

	"example.com/publish/stage/catalog"
)

// referrers are what refers to manifests of a repository. They are read when somebody
// asks for the first time, and only from manifests that the views before did not have.
type referrers struct {
	mu    sync.Mutex
	known map[string]*fact      // by digest; what was read, also of the document before
	by    map[string][]referrer // by subject; nil if it is not complete
}

// fact is what a manifest says as a referrer: it is the same wherever the manifest is.
type fact struct {
	subject      string // "" for none
	artifactType string
	descriptor   []byte // as an answer has it
}

// referrer is a manifest that refers to another one.
type referrer struct {
	*fact
	digest string
	path   string
	held   bool // nothing in the tree names it, so it may go any time
}

// facts returns what was read so far. Nobody writes to it any more.
func (r *referrers) facts() map[string]*fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

// refer returns the referrers of a repository by the digest that they refer to, each list
// sorted by digest. What cannot be read is left out, and read again for the next one who
// asks.
//
// Who knows a subject from an earlier generation also gets what referred to it then. A
// subject of this tree has only the referrers of this tree.
func (s *Server) refer(v *view, r *repository) map[string][]referrer {
	r.refs.mu.Lock()
	defer r.refs.mu.Unlock()
	if r.refs.by != nil {
		return r.refs.by
	}
	by, known, whole := map[string][]referrer{}, make(map[string]*fact, len(r.named)), true
	for digest, n := range r.named {
		f := r.refs.known[digest]
		if f == nil {
			if f = s.readFact(v, n); f == nil {
				whole = false
				continue
			}
		}
		known[digest] = f
		held := n.Kind == catalog.NamedHeld
		if f.subject == "" || held && r.named[f.subject].Kind != catalog.NamedHeld {
			continue
		}
		by[f.subject] = append(by[f.subject], referrer{f, digest, n.Path, held})
	}
	for _, list := range by {
		slices.SortFunc(list, func(a, b referrer) int { return cmp.Compare(a.digest, b.digest) })
	}
	r.refs.known = known
	if whole {
		r.refs.by = by
	}
	return by
}

// readFact reads a manifest of a view. It returns nil for one that cannot be read now, and
// an empty fact for what is none.
func (s *Server) readFact(v *view, n catalog.Naming) *fact {
	row, ok := v.find(n.Path)
	switch {
	case !ok:
		return nil
	case row.Size > maxManifest:
		return &fact{}
	}
	data, err := readSmall(v.View, row, n.Digest)
	if err != nil {
		if !gone(err) {
			s.log.Error("a file of production cannot be read", "generation", v.Generation, "path", n.Path, "error", err)
		}
		return nil
	}
	m, err := s.pull.Manifest(data)
	if err != nil || m.Subject == (catalog.Digest{}) {
		return &fact{}
	}
	descriptor, err := json.Marshal(struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int64             `json:"size"`
		ArtifactType string            `json:"artifactType,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
	}{n.MediaType, n.Digest.String(), row.Size, m.ArtifactType, m.Annotations})
	if err != nil {
		return &fact{} // it cannot fail: these are strings and a number
	}
	return &fact{m.Subject.String(), m.ArtifactType, descriptor}
}
