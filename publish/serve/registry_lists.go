package serve

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"

	"example.com/publish/stage/catalog"
)

// catalogList answers with the names of the repositories.
func (s *Server) catalogList(w http.ResponseWriter, r *http.Request, v *view) error {
	names, more, err := page(r.URL, v.repos.names)
	if err != nil {
		return err
	}
	return s.list(w, r, v, more, map[string]any{"repositories": names})
}

// tagList answers with the tags of a repository.
func (s *Server) tagList(w http.ResponseWriter, r *http.Request, v *view, a ask) error {
	repo, err := s.repository(r, v, a)
	if err != nil {
		return err
	}
	all := make([]string, len(repo.tags))
	for i, t := range repo.tags {
		all[i] = t.Name
	}
	tags, more, err := page(r.URL, all)
	if err != nil {
		return err
	}
	return s.list(w, r, v, more, struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{a.name, tags})
}

// page returns the part of a sorted list that a query asks for: n entries after last.
// more is the query for the next part, "" if there is none.
func page(u *url.URL, all []string) (part []string, more string, err error) {
	q := u.Query()
	first, found := slices.BinarySearch(all, q.Get("last"))
	if found {
		first++
	}
	part = append([]string{}, all[first:]...) // never null
	text := q.Get("n")
	if text == "" {
		return part, "", nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, "", errNumber
	}
	if n >= len(part) {
		return part, "", nil
	}
	if part = part[:n]; n > 0 { // after none it would be the same again
		more = query(u, "last", part[n-1])
	}
	return part, more, nil
}

// list answers with a list, and with where the next part of it is.
func (s *Server) list(w http.ResponseWriter, r *http.Request, v *view, more string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	s.mutable(w, r, v, more)
	writeJSON(w, r, http.StatusOK, jsonType, data)
	return nil
}

// mutable sets the headers of an answer that is another one after a switch.
func (s *Server) mutable(w http.ResponseWriter, r *http.Request, v *view, more string) {
	about(w, kindIndex)
	h := w.Header()
	h["Cache-Control"], h["Publish-Generation"] = s.cache[mutableFile], v.number
	h["Docker-Distribution-Api-Version"] = apiVersion
	if more != "" {
		h["Link"] = []string{"<" + r.URL.EscapedPath() + "?" + more + `>; rel="next"`}
	}
}

// maxReferrers is how many bytes of descriptors an answer about referrers has.
// Clients refuse larger answers than 4 MiB.
const maxReferrers = maxManifest - 4<<10

// filters is the header that says that the list has only what was asked for.
var filters = []string{"artifactType"}

// referrersOf answers with what refers to a digest, by digest. There is always a list: it
// is empty for what nothing refers to.
func (s *Server) referrersOf(w http.ResponseWriter, r *http.Request, v *view, a ask) error {
	d, err := catalog.ParseDigest(a.ref)
	if err != nil {
		return errDigest
	}
	repo, err := s.repository(r, v, a)
	if err != nil {
		return err
	}
	all := s.refer(r.Context(), v, repo)[d.String()]
	q := r.URL.Query()
	kind, last := q.Get("artifactType"), q.Get("last")
	first := sort.Search(len(all), func(i int) bool { return all[i].digest > last })
	body := []byte(`{"schemaVersion":2,"mediaType":"` + s.pull.ListType() + `","manifests":[`)
	count, more := 0, ""
	for _, one := range all[first:] {
		if kind != "" && one.artifactType != kind || one.held && !v.holds(one.path) {
			continue
		}
		if count > 0 {
			if len(body)+len(one.descriptor) > maxReferrers {
				more = query(r.URL, "last", last)
				break
			}
			body = append(body, ',')
		}
		body = append(body, one.descriptor...)
		count, last = count+1, one.digest
	}
	body = append(body, "]}"...)
	s.mutable(w, r, v, more)
	if kind != "" {
		w.Header()["OCI-Filters-Applied"] = filters
	}
	writeJSON(w, r, http.StatusOK, []string{s.pull.ListType()}, body)
	return nil
}

// holds reports whether a file that may be deleted is still there.
func (v *view) holds(path string) bool {
	_, err := v.Lstat(path)
	return err == nil
}
