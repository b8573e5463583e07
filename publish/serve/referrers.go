package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"

	"example.com/publish/stage/catalog"
)

// referrers are what refers to manifests of a repository. What a manifest says never
// changes, so each is read once: by the slow walk beside the serving, or when somebody asks
// before that. See check and refer.
type referrers struct {
	reading sync.Mutex // one request at a time reads what is not known; nothing else waits for it

	mu    sync.Mutex            // is never held while a file is read
	known map[string]*fact      // by digest
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

// noSubject is the fact of a manifest that refers to nothing, as most do.
var noSubject = &fact{}

// fact returns what is known of a manifest; nil if it was not read yet.
func (r *referrers) fact(digest string) *fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[digest]
}

// learn notes what a manifest says.
func (r *referrers) learn(digest string, f *fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]*fact{}
	}
	r.known[digest] = f
}

// list returns all referrers by subject; nil if they are not complete.
func (r *referrers) list() map[string][]referrer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by
}

// inherit takes over what is known from the repository of an earlier document at the same
// place, of the manifests that r names in the same way.
func (r *repository) inherit(was *repository) {
	was.refs.mu.Lock()
	defer was.refs.mu.Unlock()
	r.refs.known = make(map[string]*fact, len(was.refs.known))
	for digest, f := range was.refs.known {
		if n, is := r.named[digest]; is && n.MediaType == was.named[digest].MediaType {
			r.refs.known[digest] = f
		}
	}
}

// refer returns the referrers of a repository by the digest that they refer to, each list
// sorted by digest. What cannot be read is left out, and read again for the next one who
// asks.
//
// Who knows a subject from an earlier generation also gets what referred to it then. A
// subject of this tree has only the referrers of this tree.
func (s *Server) refer(ctx context.Context, v *view, r *repository) map[string][]referrer {
	if by := r.refs.list(); by != nil {
		return by
	}
	r.refs.reading.Lock()
	defer r.refs.reading.Unlock()
	if by := r.refs.list(); by != nil {
		return by
	}
	by, whole := map[string][]referrer{}, true
	for digest, n := range r.named {
		f := r.refs.fact(digest)
		if f == nil {
			if f = s.readFact(ctx, v, n); f == nil {
				whole = false
				continue
			}
			r.refs.learn(digest, f)
		}
		held := n.Kind == catalog.NamedHeld
		if f.subject == "" || held && r.named[f.subject].Kind != catalog.NamedHeld {
			continue
		}
		by[f.subject] = append(by[f.subject], referrer{f, digest, n.Path, held})
	}
	for _, list := range by {
		slices.SortFunc(list, func(a, b referrer) int { return cmp.Compare(a.digest, b.digest) })
	}
	if whole {
		r.refs.mu.Lock()
		defer r.refs.mu.Unlock()
		r.refs.by = by
	}
	return by
}

// readFact reads a manifest of a view. It returns nil for one that cannot be read now, and
// an empty fact for what is none.
func (s *Server) readFact(ctx context.Context, v *view, n catalog.Naming) *fact {
	row, ok := v.find(n.Path)
	switch {
	case !ok:
		return nil
	case row.Size > maxManifest:
		return noSubject
	}
	data, err := readSmall(ctx, v, row, n.Digest)
	if err != nil {
		if !gone(err) {
			s.log.Error("a file of production cannot be read", "generation", v.Generation, "path", n.Path, "error", err)
		}
		return nil
	}
	return s.factOf(n, data)
}

// factOf reads the bytes of a manifest.
func (s *Server) factOf(n catalog.Naming, data []byte) *fact {
	m, err := s.pull.Manifest(data)
	if err != nil || m.Subject == (catalog.Digest{}) {
		return noSubject
	}
	descriptor, err := json.Marshal(struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int               `json:"size"`
		ArtifactType string            `json:"artifactType,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
	}{n.MediaType, n.Digest.String(), len(data), m.ArtifactType, m.Annotations})
	if err != nil {
		return noSubject // it cannot fail: these are strings and a number
	}
	return &fact{m.Subject.String(), m.ArtifactType, descriptor}
}
