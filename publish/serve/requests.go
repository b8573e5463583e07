package serve

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"example.com/publish/publish"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lazyregexp"
)

// intake lets clients that know a token ask for images. A request becomes a file in a
// directory, as if somebody had put it there: who takes it, and what comes of it, is told
// by a file in its folder answers. Each of them is written under a hidden name, synced and
// renamed; no lock is taken.
//
//	POST /requests        the body is the file; 202 with its name
//	GET  /requests/NAME   the answer; 202 as long as there is none
//
// A browser cannot do that for another site: it does not send the header with the token.
type intake struct {
	dir       string
	tokenFile string

	turn  sync.Mutex // one file at a time
	mu    sync.Mutex
	token [sha256.Size]byte // the checksum of the token
}

const (
	// maxAsk is the most bytes of a request; publish mirror has the same limit.
	maxAsk = 64 << 10
	// maxWaiting is how many requests may wait to be taken.
	maxWaiting = 1000
	// maxAnswer is the most bytes of an answer.
	maxAnswer = 1 << 20
	// maxToken is the most bytes of the file of a token, and minToken what is a warning.
	maxToken, minToken = 4 << 10, 16
	// retrySoon is when a client may try again that was refused because many wait, in seconds.
	retrySoon = "10"
)

// given are names that a client may have got; see publish mirror for the prefix.
var given = lazyregexp.New(`^http-[a-z0-9]{26}$`)

// openIntake returns the intake of the configuration; nil if there is none.
func (s *Server) openIntake() (*intake, error) {
	dir, token := s.config.RequestsIn(s.repo.Dir)
	if dir == "" {
		return nil, nil
	}
	if err := s.repo.CheckRequests(dir); err != nil {
		return nil, err
	}
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		if err == nil {
			err = errors.New("is not a directory")
		}
		return nil, &publish.Error{Kind: publish.Usage, Path: dir, Fact: "the directory of requests cannot be used", Err: err,
			Hint: "publish mirror run makes the one in mirror.requests.directory"}
	}
	i := &intake{dir: dir, tokenFile: token}
	if err := i.read(s.log); err != nil {
		return nil, &publish.Error{Kind: publish.Usage, Path: token, Fact: "the token cannot be read", Err: err}
	}
	return i, nil
}

// read reads the token.
func (i *intake) read(log *slog.Logger) error {
	f, err := durable.OpenNamed(i.tokenFile)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := durable.ReadBounded(f, maxToken)
	if err != nil {
		return err
	}
	token, rest, _ := bytes.Cut(data, []byte("\n"))
	if token = bytes.TrimSpace(token); len(token) == 0 || len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("must have the token on one line, and no more")
	}
	if fi, err := f.Stat(); err == nil && fi.Mode().Perm()&0o007 != 0 {
		log.Warn("every user of this machine can read the token of requests", "path", i.tokenFile,
			"hint", "chmod o= "+i.tokenFile)
	}
	if len(token) < minToken {
		log.Warn("the token of requests is short enough to be guessed", "path", i.tokenFile,
			"hint", "openssl rand -hex 32 makes a good one")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.token = sha256.Sum256(token)
	return nil
}

// reload reads the token again; the old one counts on if that fails.
func (i *intake) reload(log *slog.Logger) {
	if i == nil {
		return
	}
	if err := i.read(log); err != nil {
		log.Error("the token of requests cannot be read; the old one counts", "path", i.tokenFile, "error", err)
	}
}

// allowed reports whether a request shows the token. How long it takes says nothing of it.
func (i *intake) allowed(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	i.mu.Lock()
	defer i.mu.Unlock()
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], i.token[:]) == 1
}

// asks answers requests for images, if the server takes any.
func (s *Server) asks(w http.ResponseWriter, r *http.Request, p string, slash bool) bool {
	name, below := strings.CutPrefix(p, "requests/")
	if s.intake == nil || p != "requests" && !below {
		return false
	}
	w.Header()["Cache-Control"] = []string{"no-store"}
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case !s.intake.allowed(r):
		w.Header()["Www-Authenticate"] = []string{`Bearer realm="requests"`}
		s.say(w, r, http.StatusUnauthorized, "show the token: Authorization: Bearer TOKEN")
	case below && !get, !below && r.Method != http.MethodPost:
		s.reject(rejectedMethod)
		w.Header()["Allow"] = []string{map[bool]string{true: "GET, HEAD", false: "POST"}[below]}
		s.say(w, r, http.StatusMethodNotAllowed, "POST /requests asks, and GET /requests/NAME has the answer")
	case slash:
		s.say(w, r, http.StatusNotFound, "not found")
	case below:
		s.askedFor(w, r, name)
	default:
		s.ask(w, r)
	}
	return true
}

// say answers with an error as JSON.
func (s *Server) say(w http.ResponseWriter, r *http.Request, status int, fact string) {
	data, _ := json.Marshal(map[string]string{"error": fact}) // a string
	writeJSON(w, r, status, jsonType, append(data, '\n'))
}

// readable are the media types of a request. A client that names none means YAML.
var readable = map[string]bool{"": true, "application/json": true, "application/yaml": true,
	"application/x-yaml": true, "text/yaml": true, "text/x-yaml": true}

// ask takes a request.
func (s *Server) ask(w http.ResponseWriter, r *http.Request) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Header.Get("Content-Type") != "" && (err != nil || !readable[kind]) {
		s.say(w, r, http.StatusUnsupportedMediaType, "send application/json or application/yaml")
		return
	}
	if r.ContentLength > maxAsk {
		s.say(w, r, http.StatusRequestEntityTooLarge, "a request has at most 64 KiB")
		return
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxAsk+1))
	switch {
	case err != nil:
		s.say(w, r, http.StatusBadRequest, "the body did not come whole")
		return
	case len(data) > maxAsk:
		s.say(w, r, http.StatusRequestEntityTooLarge, "a request has at most 64 KiB")
		return
	case len(bytes.TrimSpace(data)) == 0:
		s.say(w, r, http.StatusBadRequest, "the body asks for nothing")
		return
	}
	name, err := s.intake.put(data)
	switch {
	case errors.Is(err, errMany):
		w.Header()["Retry-After"] = []string{retrySoon}
		s.say(w, r, http.StatusTooManyRequests, err.Error())
	case err != nil:
		s.log.Error("a request for images cannot be written", "error", err)
		w.Header()["Retry-After"] = []string{retrySoon}
		s.say(w, r, http.StatusServiceUnavailable, "requests cannot be taken now")
	default:
		w.Header()["Location"] = []string{"/requests/" + name}
		s.pending(w, r, name, http.StatusAccepted)
	}
}

// pending answers that a request waits.
func (s *Server) pending(w http.ResponseWriter, r *http.Request, name string, status int) {
	data, _ := json.Marshal(map[string]string{"answer": name, "state": "pending"}) // two strings
	writeJSON(w, r, status, jsonType, append(data, '\n'))
}

var errMany = errors.New("many requests wait; try again")

// put writes a request, and returns its name, which nobody can guess.
func (i *intake) put(data []byte) (name string, err error) {
	i.turn.Lock()
	defer i.turn.Unlock()
	dir, err := durable.OpenDirNamed(i.dir)
	if err != nil {
		return "", err
	}
	// Hidden files and the folder answers count little.
	names, err := dir.Readdirnames(maxWaiting + 2)
	if err := errors.Join(ignoreEnd(err), dir.Close()); err != nil {
		return "", err
	}
	if len(names) > maxWaiting {
		return "", errMany
	}
	name = "http-" + strings.ToLower(rand.Text())
	return name, durable.WriteFile(filepath.Join(i.dir, name), data, 0o644)
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// askedFor has the answer to a request.
func (s *Server) askedFor(w http.ResponseWriter, r *http.Request, name string) {
	if !given.MatchString(name) {
		s.say(w, r, http.StatusNotFound, "there is no such request")
		return
	}
	answer := filepath.Join(s.intake.dir, "answers", name+".json")
	for range 2 { // a request is removed only after its answer is there
		data, err := durable.ReadSmall(answer, maxAnswer)
		if err == nil {
			writeJSON(w, r, http.StatusOK, jsonType, data)
			return
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Error("an answer cannot be read", "error", err)
			s.say(w, r, http.StatusServiceUnavailable, "the answer cannot be read now")
			return
		}
		if _, err := os.Lstat(filepath.Join(s.intake.dir, name)); err == nil {
			s.pending(w, r, name, http.StatusAccepted)
			return
		}
	}
	s.say(w, r, http.StatusNotFound, fmt.Sprintf("there is no request %s; answers are kept for 30 days", name))
}
