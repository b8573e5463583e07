package bucket

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Options are what a Site must know.
type Options struct {
	Store   Store
	Who     string
	Content string // Cache-Control of content
	Mutable string // Cache-Control of what changes
	Cache   string // a directory for manifests, events and files that were fetched; they never change
	Workers int    // uploads at once
	// Step is called before and after each step that changes the store; an error stops the
	// command there. nil outside tests.
	Step func(name string) error
	Warn func(string)
	// Keys are the keys under which what a row of a manifest names may lie, first that where
	// it does: a gc deletes those that no kept row has. nil: content lies at its path, the rest
	// at KeyOf.
	Keys func(row tree.Row) []string
	// Beside are the keys of the mutable files of a generation that no row names. nil: there
	// are none.
	Beside func(ctx context.Context, m *generation.Manifest) ([]string, error)
	// Own returns the own form of a document, whose digest its row has. nil: there is no other.
	Own func(data []byte) []byte
	// Now is a clock for durations; nil: time.Now. Dates are the store's.
	Now func() time.Time
	// Sleep waits; tests make it short. nil: a timer.
	Sleep func(ctx context.Context, d time.Duration) error
	// Progress is called at the beginning of long work with its bytes; nil: nobody.
	Progress func(step string, bytes int64) func(done int64)
}

// Site is production in an object store.
type Site struct {
	Options

	mu      sync.Mutex
	birth   *Birth
	last    *Pointer          // what Read returned last
	texts   map[string]string // of manifests, by the digest of their objects
	order   []string          // of texts, the oldest first
	present map[string]sight  // objects that are there
	due     due               // the last list of a gc that was read
	batch   int               // keys that one request deletes
	opaque  bool              // ETags are no digests in this store
	// unstored says that it was told that the cache cannot be written.
	unstored bool
	chance   func(time.Duration) time.Duration
}

// New returns the site; call Found or Join before the rest.
func New(opt Options) *Site {
	return &Site{Options: opt, batch: deleteBatch, chance: rand.N[time.Duration]}
}

// Probe tries whether the store does what the protocol needs, in probe/: create twice,
// 16 creates and 16 swaps at once, a stale swap, a wrong checksum. The error names what
// the store fails.
func (s *Site) Probe(ctx context.Context) error { return Probe(ctx, s.Store) }

// keys are the keys of what a row names.
func (s *Site) keys(row tree.Row) []string {
	switch {
	case s.Keys != nil:
		return s.Keys(row)
	case row.Role == catalog.Content:
		return []string{row.Path}
	}
	return []string{KeyOf(row)}
}
