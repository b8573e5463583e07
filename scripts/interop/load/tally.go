package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/publish/scripts/interop/oracle"
)

// tally is what a run saw.
type tally struct {
	took  time.Duration
	http  atomic.Int64 // requests of readers through the web server
	files atomic.Int64 // and of those on the file system
	incus int64        // of the Incus library: what else the server has logged
	freed int          // carried files and trees that gc deleted

	mu        sync.Mutex
	failures  int
	mixtures  int
	indexes   int // held
	whole     int // of them, read within one generation
	unchanged int // documents that were answered with 304
	late      int
	gone      int
	absent    int            // of late and gone: what the server answered with 404
	verbs     map[string]int // how often each succeeded
	idle      map[string]int // and how often one did nothing, by the reason
	details   []string       // of the first failures and mixtures
}

func newTally() *tally { return &tally{verbs: map[string]int{}, idle: map[string]int{}} }

// held is what a reader counts on until the window of its documents ends.
type held struct {
	until  time.Time
	reader string
	web    bool
}

// judge counts what a request came to, and reports whether it was answered
// with what was asked for. Probing is asking on purpose after the window.
func (t *tally) judge(h held, err error, probing bool) bool {
	now := time.Now()
	if err == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var status oracle.StatusError
	var bytes oracle.BytesError
	switch {
	case errors.As(err, &bytes):
		t.mixture(h.reader, err)
		return false
	case now.Before(h.until) || !errors.As(err, &status) || status.Code != http.StatusNotFound:
		t.failures++
		t.detail("failure", h.reader, fmt.Errorf("%w (%v left of the window)", err,
			h.until.Sub(now).Round(time.Millisecond)))
		return false
	case probing:
		t.gone++
	default:
		t.late++
	}
	if h.web {
		t.absent++
	}
	return false
}

// torn counts a mixture of documents.
func (t *tally) torn(h held, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mixture(h.reader, err)
}

func (t *tally) mixture(reader string, err error) {
	t.mixtures++
	t.detail("mixture", reader, err)
}

func (t *tally) detail(what, reader string, err error) {
	if len(t.details) < 20 {
		t.details = append(t.details, fmt.Sprintf("%s: %s: %v", what, reader, err))
	}
}

// holds counts documents that a reader now holds.
func (t *tally) holds(whole bool, unchanged int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.indexes++
	t.unchanged += unchanged
	if whole {
		t.whole++
	}
}

// verb counts a command that did its work, had none, or was turned away with
// a status that says why.
func (t *tally) verb(name string, status int, unchanged bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case status == 0 && unchanged:
		t.idle["unchanged"]++
	case status == 0:
		t.verbs[name]++
	case status == 4:
		t.idle["locked"]++
	case status == 5:
		t.idle["not there"]++
	case status == 6:
		t.idle["refused"]++
	}
}

// shows reports whether the run has seen enough to mean something. Readers that
// expect a longer window than there is must fail.
func (t *tally) shows(deceived bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range verbs {
		if t.verbs[v.name] == 0 {
			return false
		}
	}
	return t.gone > 0 && t.unchanged > 0 && t.whole > 0 && (t.failures > 0 || !deceived)
}

func (t *tally) requests() int64 { return t.http.Load() + t.files.Load() + t.incus }

func (t *tally) add(o *tally) {
	t.http.Add(o.http.Load())
	t.files.Add(o.files.Load())
	t.incus += o.incus
	t.failures += o.failures
	t.mixtures += o.mixtures
}

func (t *tally) String() string {
	list := func(m map[string]int) string {
		var out []string
		for _, name := range slices.Sorted(maps.Keys(m)) {
			out = append(out, fmt.Sprintf("%d %s", m[name], name))
		}
		return strings.Join(out, ", ")
	}
	return fmt.Sprintf("%v, %d requests (web %d, Incus %d, files %d) on %d indexes (%d within one generation, %d "+
		"documents by 304), %d failures, %d mixtures; "+
		"%d late, %d gone after their window; %s; gc freed %d; nothing done: %s",
		t.took.Round(time.Second), t.requests(), t.http.Load(), t.incus, t.files.Load(), t.indexes, t.whole,
		t.unchanged, t.failures, t.mixtures,
		t.late, t.gone, list(t.verbs), t.freed, list(t.idle))
}
