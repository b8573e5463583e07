package serve

import (
	"net/http"
	"net/url"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// The distribution specification 1.1, as far as clients pull. What a tree has is told by
// its format: see [catalog.Puller]. A name in a request only ever selects something that
// a view has; it never becomes a path.

// apiVersion is a header that old clients look for.
var apiVersion = []string{"registry/2.0"}

// ask is what a request below /v2/ asks for.
type ask struct {
	kind askKind
	name string // of the repository, as the client writes it
	ref  string // a tag or a digest
}

type askKind int

const (
	askNothing   askKind = iota
	askVersion           // /v2/
	askCatalog           // /v2/_catalog
	askTags              // /v2/NAME/tags/list
	askManifest          // /v2/NAME/manifests/REF
	askBlob              // /v2/NAME/blobs/DIGEST
	askReferrers         // /v2/NAME/referrers/DIGEST
)

// isRegistry reports whether a path belongs to the registry.
func isRegistry(p string) bool { return p == "v2" || strings.HasPrefix(p, "v2/") }

// parseAsk reads a path for which isRegistry is true. The parts of a repository's name
// may be anything, such as tags/list, so it is read from its end.
func parseAsk(p string) ask {
	p = strings.TrimPrefix(strings.TrimPrefix(p, "v2"), "/")
	switch p {
	case "":
		return ask{kind: askVersion}
	case "_catalog":
		return ask{kind: askCatalog}
	}
	if name, ok := strings.CutSuffix(p, "/tags/list"); ok {
		return ask{kind: askTags, name: name}
	}
	before, ref, _ := cutLast(p)
	name, what, ok := cutLast(before)
	if !ok || name == "" {
		return ask{}
	}
	switch what {
	case "manifests":
		return ask{askManifest, name, ref}
	case "blobs":
		return ask{askBlob, name, ref}
	case "referrers":
		return ask{askReferrers, name, ref}
	}
	return ask{}
}

// cutLast cuts a path before its last part.
func cutLast(p string) (before, last string, ok bool) {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return "", p, false
	}
	return p[:i], p[i+1:], true
}

// registry answers a request for which isRegistry is true.
func (s *Server) registry(w http.ResponseWriter, r *http.Request, p string, slash bool) {
	refuseRanges(w, r)
	a := parseAsk(p)
	if slash && a.kind != askVersion {
		a = ask{}
	}
	switch a.kind {
	case askVersion:
		w.Header()["Docker-Distribution-Api-Version"] = apiVersion
		writeJSON(w, r, http.StatusOK, jsonType, []byte("{}"))
	case askCatalog:
		s.byName(w, r, func(v *view) error { return s.catalogList(w, r, v) })
	case askTags:
		s.byName(w, r, func(v *view) error { return s.tagList(w, r, v, a) })
	case askReferrers:
		s.byName(w, r, func(v *view) error { return s.referrersOf(w, r, v, a) })
	case askManifest:
		if strings.Contains(a.ref, ":") {
			s.byDigest(w, r, func(v *view, live bool) error { return s.manifestByDigest(w, r, v, live, a) })
		} else {
			s.byName(w, r, func(v *view) error { return s.manifestByTag(w, r, v, a) })
		}
	case askBlob:
		s.byDigest(w, r, func(v *view, _ bool) error { return s.blob(w, r, v, a) })
	default:
		refuse(w, r, errPath)
	}
}

// byName answers from the view of what production is now. answer writes nothing if it
// returns an error.
func (s *Server) byName(w http.ResponseWriter, r *http.Request, answer func(v *view) error) {
	v, err := s.keeper.fresh(r.Context())
	if err != nil {
		s.reject(rejectedNoView)
		w.Header()["Retry-After"] = []string{"1"}
		refuse(w, r, errNotReady)
		return
	}
	defer v.release()
	if err := answer(v); err != nil {
		s.refuseFrom(w, r, v, err)
	}
}

// byDigest answers from the view at hand, since production keeps what has a digest for
// the grace window. If that view does not have it, production is asked. live says that
// the view is that of production at this moment.
func (s *Server) byDigest(w http.ResponseWriter, r *http.Request, answer func(v *view, live bool) error) {
	v, _, live := s.keeper.compare()
	if v != nil {
		defer v.release()
		err := answer(v, live)
		if err == nil {
			return
		}
		if live || !unknown(err) {
			s.refuseFrom(w, r, v, err)
			return
		}
	}
	s.byName(w, r, func(v *view) error { return answer(v, true) })
}

// repository returns the one that a request names. The query may say which registry the
// client wanted to ask.
func (s *Server) repository(r *http.Request, v *view, a ask) (*repository, error) {
	registry := ""
	if r.URL.RawQuery != "" {
		registry = r.URL.Query().Get("ns")
	}
	if repo := v.repos.find(s.pull, a.name, registry, s.config.DefaultNamespace); repo != nil {
		return repo, nil
	}
	if !nameGrammar.MatchString(a.name) {
		return nil, errInvalidName
	}
	return nil, errName
}

// nameGrammar is that of the specification for the name of a repository.
var nameGrammar = lazyregexp.New(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func (s *Server) manifestByTag(w http.ResponseWriter, r *http.Request, v *view, a ask) error {
	repo, err := s.repository(r, v, a)
	if err != nil {
		return err
	}
	d, ok := repo.tag(a.ref)
	if !ok {
		return errManifest
	}
	m, err := s.findManifest(r.Context(), v, true, repo, d.String())
	if err != nil {
		return err
	}
	about(w, kindTag)
	s.manifest(w, r, v, m, mutableFile)
	return nil
}

func (s *Server) manifestByDigest(w http.ResponseWriter, r *http.Request, v *view, live bool, a ask) error {
	repo, err := s.repository(r, v, a)
	if err != nil {
		return err
	}
	m, err := s.findManifest(r.Context(), v, live, repo, a.ref)
	if err != nil {
		return err
	}
	about(w, kindManifest)
	s.manifest(w, r, v, m, digestFile)
	return nil
}

// manifest answers with one, as it is: what the client accepts does not matter, for there
// is nothing else under that name. It has no date: that of a tag may go back.
func (s *Server) manifest(w http.ResponseWriter, r *http.Request, v *view, m *manifest, c class) {
	h := w.Header()
	s.describe(h, v, m.head, c)
	h["Docker-Content-Digest"], h["Docker-Distribution-Api-Version"] = m.digest, apiVersion
	h["Accept-Ranges"] = acceptBytes
	if !quick(w, r, m.data, m.head.length, nil) {
		sendBytes(w, r, m.data)
	}
}

// blob answers with any content of a repository.
func (s *Server) blob(w http.ResponseWriter, r *http.Request, v *view, a ask) error {
	d, err := catalog.ParseDigest(a.ref)
	if err != nil {
		return errDigest
	}
	repo, err := s.repository(r, v, a)
	if err != nil {
		return err
	}
	row, ok := v.find(s.pull.BlobAt(repo.row.Path, d))
	if !ok || d.Algorithm == catalog.SHA256 && row.SHA256 != d.Hex {
		return errBlob
	}
	err = s.file(w, r, v, row, kindBlob, nil, func(h http.Header) {
		s.describe(h, v, headers{tag: []string{`"` + row.SHA256 + `"`}, kind: blobType}, digestFile)
		h["Docker-Content-Digest"], h["Docker-Distribution-Api-Version"] = []string{a.ref}, apiVersion
	})
	if gone(err) {
		return errBlob
	}
	return err
}

// query is that of a URL with one value replaced.
func query(u *url.URL, name, value string) string {
	q := u.Query()
	q.Set(name, value)
	return q.Encode()
}
