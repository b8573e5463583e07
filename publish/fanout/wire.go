package fanout

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"example.com/publish/publish"
)

// greeting is the first line of a target. Its number is raised when an older end could not
// go on.
const greeting = "publish-receive 1"

// Bounds of what the other end may send, in bytes.
const (
	maxLine   = 1 << 20 // a line of JSON
	maxStones = 256 << 20
	digestLen = len("link:") + 64 // a content that is asked for
)

// hello is the first line of a leader.
type hello struct {
	Leader     string        `json:"leader"`
	Target     string        `json:"target"`
	Setup      publish.Setup `json:"setup"`
	Generation int           `json:"generation"`
	TreeID     string        `json:"tree_id"`
	Revoked    string        `json:"revoked"` // a digest; "" for nothing
}

// offer is followed by the manifest and the stones.
type offer struct {
	Manifest int64 `json:"manifest"` // bytes
	Stones   int64 `json:"stones"`   // bytes: a line each
}

// answer is a line of a target. State is at, lacks, done or failed.
type answer struct {
	State      string   `json:"state"`
	Generation int      `json:"generation"` // production there; 0 for none
	TreeID     string   `json:"tree_id,omitempty"`
	Revoked    string   `json:"revoked,omitempty"`
	Lacks      int      `json:"lacks,omitempty"` // so many lines with contents follow
	From       int      `json:"from,omitempty"`
	Switched   bool     `json:"switched,omitempty"`
	Carried    int      `json:"carried,omitempty"`
	NewBytes   int64    `json:"new_bytes,omitempty"`
	Redacted   int      `json:"redacted,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
	Kind       string   `json:"kind,omitempty"` // of an error
	Message    string   `json:"message,omitempty"`
	Hint       string   `json:"hint,omitempty"`
}

// kinds are the kinds of errors, as a target writes them.
var kinds = map[publish.Kind]string{publish.Failed: "failed", publish.Usage: "usage", publish.Invalid: "invalid",
	publish.Locked: "locked", publish.NotFound: "not-found", publish.Refused: "refused", publish.Switched: "switched",
	publish.Interrupted: "interrupted"}

func kindNamed(name string) publish.Kind {
	for k, n := range kinds {
		if n == name {
			return k
		}
	}
	return publish.Failed
}

// failedAnswer is the answer for an error.
func failedAnswer(err error, generation int) answer {
	a := answer{State: "failed", Generation: generation, Kind: kinds[publish.Failed], Message: err.Error()}
	if e := new(publish.Error); errors.As(err, &e) {
		a.Kind, a.Hint = kinds[e.Kind], e.Hint
	}
	if findings := new(publish.FindingsError); errors.As(err, &findings) {
		a.Kind = kinds[publish.Invalid]
	}
	a.Message, a.Hint = clip(a.Message), clip(a.Hint)
	return a
}

// fault is the error that a target sent.
func (a *answer) fault() error {
	return &publish.Error{Kind: kindNamed(a.Kind), Fact: clip(a.Message), Hint: clip(a.Hint)}
}

// clip bounds a text for people that another machine sent.
func clip(text string) string {
	const most = 2000
	text = strings.TrimSpace(strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// errLong is the error for a line that is longer than it may be.
var errLong = errors.New("a line is too long")

// readLine reads a line of at most limit bytes, without its end. At the end of the stream
// it returns io.EOF, and within a line io.ErrUnexpectedEOF.
func readLine(r *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); len(line) > limit {
			return "", errLong
		}
		switch {
		case err == nil:
			return string(line[:len(line)-1]), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF && len(line) > 0:
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}

func readObject(r *bufio.Reader, v any) error {
	line, err := readLine(r, maxLine)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), v); err != nil {
		return fmt.Errorf("a line cannot be read: %w", err)
	}
	return nil
}

func writeObject(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(data, '\n'))
	return err
}
