package mirror

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/publish/publish"
)

// The limits of a file that asks for images.
const (
	MaxRequest    = 64 << 10 // bytes
	maxReferences = 100
)

// asked is what such a file says: YAML, and so also JSON.
type asked struct {
	Reference  string   `yaml:"reference"`
	References []string `yaml:"references"`
	Platforms  []string `yaml:"platforms"` // empty: those of the configuration
	Versions   int      `yaml:"versions"`  // the newest, of servers whose images have versions; 0: all
	Filters    []string `yaml:"filters"`   // likewise
	Requester  string   `yaml:"requester"` // empty: the owner of the file
	Note       string   `yaml:"note"`
}

// parseRequest reads a file that asks for images. The error is for the one who asks.
func parseRequest(data []byte) (*asked, error) {
	a := &asked{}
	if err := publish.StrictYAML(data, a); err != nil {
		return nil, errors.New(cut(strings.Join(strings.Fields(err.Error()), " "), maxText))
	}
	if a.Reference != "" {
		a.References = append([]string{a.Reference}, a.References...)
	}
	switch {
	case len(a.References) == 0:
		return nil, errors.New("asks for nothing: it has neither reference nor references")
	case len(a.References) > maxReferences:
		return nil, fmt.Errorf("asks for %d images; %d are allowed", len(a.References), maxReferences)
	case len(a.Platforms) > maxReferences || len(a.Filters) > maxReferences:
		return nil, fmt.Errorf("has a list of more than %d", maxReferences)
	case a.Versions < 0:
		return nil, fmt.Errorf("versions: %d is negative", a.Versions)
	}
	for _, list := range [][]string{a.References, a.Platforms, a.Filters, {a.Requester, a.Note}} {
		for _, s := range list {
			if strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) {
				return nil, fmt.Errorf("has a control character in %q", cut(s, maxText/4))
			}
		}
	}
	return a, nil
}

// maxName is the most bytes of a name of a file that asks: its answer has a longer one.
const maxName = 200

// isRequest reports whether a name in the directory of requests may be one: files that are
// being written have other names.
func isRequest(name string) bool {
	return name != "" && len(name) <= maxName && name[0] != '.' && name != answersIn &&
		!strings.HasSuffix(name, ".part") && !strings.HasSuffix(name, ".tmp")
}

// answersIn is the folder of answers, in the directory of requests.
const answersIn = "answers"

// Answer says what became of a file that asked for images. It lies in answers/NAME.json.
type Answer struct {
	Request    string     `json:"request"` // the name of the file
	State      State      `json:"state"`   // see Answer.sum
	Reason     string     `json:"reason,omitempty"`
	ID         string     `json:"id,omitempty"` // of the only job
	IDs        []string   `json:"ids"`
	Requester  string     `json:"requester"`
	Note       string     `json:"note,omitempty"`
	Taken      time.Time  `json:"taken"`
	Updated    time.Time  `json:"updated"`
	References []Answered `json:"references"`
	// What tells the file from another one of the same name.
	SHA256   string    `json:"sha256"`
	Modified time.Time `json:"modified"`
}

// Answered is what became of one reference.
type Answered struct {
	Reference string `json:"reference"`
	Canonical string `json:"canonical,omitempty"`
	ID        string `json:"id,omitempty"`
	State     State  `json:"state"`
	Reason    string `json:"reason,omitempty"` // why it waits, or was denied
	Class     string `json:"class,omitempty"`
	Error     string `json:"error,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Address   string `json:"address,omitempty"`
	Pinned    string `json:"pinned,omitempty"` // the address by digest
}

// Limits of an answer.
const (
	maxAnswer      = 1 << 20 // bytes
	maxAnswerError = 1 << 10
	maxAnswerName  = 512
)

// final reports whether nothing happens any more to what a reference asked for.
func (a Answered) final() bool { return a.State.Ended() && a.State != Staged }

// final reports whether the answer stays as it is.
func (a *Answer) final() bool {
	for _, r := range a.References {
		if !r.final() {
			return false
		}
	}
	return true
}

// sum sets the state of the whole. Of one reference it is that of its job. Of several it is
// pending until all have ended; then failed if one did not come, staged if one is not
// published, else published. It is denied only if all are.
func (a *Answer) sum() {
	n := len(a.References)
	if n == 0 {
		return // the file could not be read
	}
	a.IDs = []string{}
	seen := map[string]bool{}
	count := map[State]int{}
	for _, r := range a.References {
		if r.ID != "" && !seen[r.ID] {
			a.IDs, seen[r.ID] = append(a.IDs, r.ID), true
		}
		count[r.State]++
	}
	a.ID = ""
	if len(a.IDs) == 1 {
		a.ID = a.IDs[0]
	}
	switch {
	case n == 1:
		a.State, a.Reason = a.References[0].State, a.References[0].Reason
		return
	case count[Denied] == n:
		a.State, a.Reason = Denied, "all were denied; references says why"
		return
	case count[Pending]+count[Waiting]+count[Running] > 0:
		a.State = Pending
	case count[Staged]+count[Published] < n:
		a.State = Failed
	case count[Staged] > 0:
		a.State = Staged
	default:
		a.State = Published
	}
	a.Reason = ""
	if bad := n - count[Staged] - count[Published] - count[Pending] - count[Waiting] - count[Running]; bad > 0 {
		a.Reason = fmt.Sprintf("%d of %d did not come; references says why", bad, n)
	}
}

// encode returns the bytes of the file. What strangers wrote in it is bounded.
func (a *Answer) encode() ([]byte, error) {
	c := *a
	c.Reason, c.Requester, c.Note = cut(a.Reason, maxText), cut(a.Requester, 128), cut(a.Note, 128)
	c.References = make([]Answered, len(a.References))
	for i, r := range a.References {
		r.Reference, r.Canonical = cut(r.Reference, maxAnswerName), cut(r.Canonical, maxAnswerName)
		r.Reason, r.Error, r.Class = cut(r.Reason, maxText), cut(r.Error, maxAnswerError), cut(r.Class, 64)
		r.Digest, r.Address, r.Pinned = cut(r.Digest, maxText), cut(r.Address, maxText), cut(r.Pinned, 2*maxText)
		c.References[i] = r
	}
	return marshal(c)
}
