package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// apiError is an error as the specification has it. Its message names nothing of this
// machine.
type apiError struct {
	status int
	code   string
	fact   string
}

func (e *apiError) Error() string { return e.fact }

var (
	errName        = &apiError{http.StatusNotFound, "NAME_UNKNOWN", "there is no such repository"}
	errInvalidName = &apiError{http.StatusBadRequest, "NAME_INVALID", "this is no name of a repository"}
	errManifest    = &apiError{http.StatusNotFound, "MANIFEST_UNKNOWN", "the repository has no such manifest"}
	errBlob        = &apiError{http.StatusNotFound, "BLOB_UNKNOWN", "the repository has no such blob"}
	errDigest      = &apiError{http.StatusBadRequest, "DIGEST_INVALID", "this is no digest: sha256 or sha512, in hex"}
	errNumber      = &apiError{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is no number of entries"}
	errRange       = &apiError{http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "the content has no such part"}
	errMethod      = &apiError{http.StatusMethodNotAllowed, "UNSUPPORTED", "only GET and HEAD"}
	errPath        = &apiError{http.StatusNotFound, "UNSUPPORTED", "there is nothing at this path"}
	errNotReady    = &apiError{http.StatusServiceUnavailable, "UNAVAILABLE", "production is not ready; try again"}
	errExhausted   = &apiError{http.StatusServiceUnavailable, "UNAVAILABLE", "too many files are open; try again"}
	errAway        = &apiError{http.StatusServiceUnavailable, "UNAVAILABLE", "the content cannot be fetched; try again"}
	errWrong       = &apiError{http.StatusBadGateway, "UNKNOWN", "this content is damaged"}
	errDamaged     = &apiError{http.StatusInternalServerError, "UNKNOWN", "this content cannot be read"}
)

// unknown reports whether an error says that a view does not have something.
func unknown(err error) bool {
	e := new(apiError)
	return errors.As(err, &e) && e.status == http.StatusNotFound
}

// refuseFrom answers with an error of a request to a view. If it is about a file, the log
// has it, and the client gets no detail.
func (s *Server) refuseFrom(w http.ResponseWriter, r *http.Request, v *view, err error) {
	e := new(apiError)
	switch {
	case errors.As(err, &e):
	case exhausted(err):
		s.reject(rejectedExhausted)
		w.Header()["Retry-After"] = []string{"1"}
		e = errExhausted
	case s.unreached(err):
		w.Header()["Retry-After"] = []string{retryStore}
		e = errAway
	case isOther(err):
		s.bad(v, "", err)
		e = errWrong
	default:
		s.log.Error("a file of production cannot be read", "generation", v.Generation, "error", err)
		e = errDamaged
	}
	w.Header()["Publish-Generation"] = v.number
	refuse(w, r, e)
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, r *http.Request, e *apiError) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	data, _ := json.Marshal(map[string][]one{"errors": {{e.code, e.fact}}}) // two strings
	h := w.Header()
	h["Cache-Control"], h["Docker-Distribution-Api-Version"] = []string{"no-store"}, apiVersion
	writeJSON(w, r, e.status, jsonType, data)
}

// refuseRanges has the error of a Range that fits nothing be one as the specification has it.
func refuseRanges(w http.ResponseWriter, r *http.Request) {
	if w, ok := w.(*writer); ok {
		w.unfit = func() { refuse(w, r, errRange) }
	}
}

// Media types of answers.
var (
	jsonType = []string{"application/json"}
	blobType = []string{"application/octet-stream"}
)

// writeJSON answers with a whole body.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, kind []string, data []byte) {
	h := w.Header()
	h["Content-Type"], h["X-Content-Type-Options"] = kind, noSniff
	h["Content-Length"] = []string{strconv.Itoa(len(data))}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}
