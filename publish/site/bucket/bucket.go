// Package bucket keeps production in an object store to which many machines promote.
// The store's conditional write is the only lock: one object, the pointer, says what is
// production, and replacing it on the condition that it is still the one that was read
// is the commit point.
//
//	the pointer                          the one mutable object; never deleted
//	content at its path in the tree      created once, never overwritten
//	_publish/repository.json             whose the prefix is; created once
//	_publish/generations/000042-<nonce>  a manifest: whole, or what differs from another
//	_publish/files/<sha256>              bytes of documents, for revert and serve
//	_publish/raw/<sha256>                those of large files that no index names
//	_publish/events/<seq>-<nonce>        a line of the history, and the key of the line before
//	_publish/turn                        who may try next, when many promote at once
//	_publish/gc/<nonce>                  keys that a gc is about to delete
//
// A commit: Upload what the tree has and the last one lacks; Commit writes the manifest
// and the event under names that nobody else uses, and swaps the pointer. Until the
// swap nothing that readers see has changed; after it all has. A machine that dies before
// the swap leaves objects that nothing names.
//
// The package knows no cloud (see Store) and no format: what a tree's documents are called
// in the store says the Place that the caller hands in.
package bucket

import (
	"encoding/json"
	"errors"
	"time"

	"example.com/publish/publish/generation"
)

// Birth is what _publish/repository.json says. It never changes.
type Birth struct {
	Version    int    `json:"version"` // of the protocol
	Repository string `json:"repository"`
	Format     string `json:"format"`
	Readers    string `json:"readers"` // bucket or serve
	Pointer    string `json:"pointer"` // its key
	// Layout is how the format's trees lie there, for readers of the store.
	Layout string    `json:"layout,omitempty"`
	Made   time.Time `json:"made"`
	Who    string    `json:"who"`
	// Leader is the repository that this production follows, and Target what it is called
	// there; "" if it follows none.
	Leader string `json:"leader,omitempty"`
	Target string `json:"target,omitempty"`
	// Document is what the first pointer shows to clients; see Pointer. It stands here so
	// that whoever comes next can finish what a killed founder began. nil: {}.
	Document []byte `json:"document"`
}

// Pointer is what the pointer says, as of one GET. It is the object "publish" of a JSON
// object, whose other members are for the clients of the format; see Document.
type Pointer struct {
	Version    int    `json:"version"`
	Repository string `json:"repository"`
	Generation int    `json:"generation"` // production; 0 before the first promote
	Seq        int    `json:"seq"`        // of commits: 0 for that of Found
	Nonce      string `json:"nonce"`      // of this commit
	Manifest   *Ref   `json:"manifest"`   // nil before the first promote
	Event      string `json:"event"`      // the newest one's key; "" for none
	Commits    []Done `json:"commits"`    // the last 64, the newest last
	Kept       []Ref  `json:"kept"`       // the other generations that are kept, ascending
	Bases      []Ref  `json:"bases"`      // not kept, but a manifest that is differs from them; ascending
	Settled    bool   `json:"settled"`    // the mutable files beside the pointer are those of Generation
	// Left are generations before Generation whose mutable files may still lie beside the
	// pointer: changed ones until it is settled, and then those that Generation does not have,
	// until Clean has deleted them. 0 stands for generations that are not known.
	Left      []int    `json:"left,omitempty"`
	Pending   *Pending `json:"pending"`   // the health check of Generation is not over
	Condemned *Due     `json:"condemned"` // what a gc is deleting
	// Graves is the digest of the tombstones, what was revoked: a document at KeyOf; "" for
	// none.
	Graves string `json:"graves,omitempty"`
	// Obeyed is a digest of what the leader has revoked, of a production that follows one, as
	// far as all of it is carried out here; "" for nothing.
	Obeyed string `json:"obeyed,omitempty"`
	// Collections is how often something was condemned. What was seen in the store since the
	// last time, and is not condemned, is still there.
	Collections int `json:"collections"`
	// History is what publish/journal needs to know of the events before: its summary.
	History json.RawMessage `json:"history"`

	Document []byte    `json:"-"` // the JSON object for clients, without "publish"
	ETag     string    `json:"-"`
	Date     time.Time `json:"-"` // the store's clock at that GET
}

// Ref names the manifest of a generation.
type Ref struct {
	Generation int    `json:"generation"`
	Key        string `json:"key"`
	SHA256     string `json:"sha256"` // of the object
	Seal       string `json:"seal"`   // of the manifest
	Bytes      int64  `json:"bytes"`
	Depth      int    `json:"depth"` // how many manifests it differs from, one after the other; 0: it is whole
	Base       string `json:"base"`  // the key of the manifest that it differs from; "" if it is whole
}

// Done is a commit.
type Done struct {
	Seq        int    `json:"seq"`
	Nonce      string `json:"nonce"`
	Generation int    `json:"generation"`
}

// Pending is a health check under way.
type Pending struct {
	Who   string    `json:"who"`
	Until time.Time `json:"until"` // by the store's clock; after it anybody may end the check
}

// Due is what a gc has said that it deletes.
type Due struct {
	Key    string    `json:"key"`    // of the list
	SHA256 string    `json:"sha256"` // of the list's object
	Nonce  string    `json:"nonce"`
	Count  int       `json:"count"`
	Since  time.Time `json:"since"` // by the store's clock
	// Last is when the gc that deletes was last seen, by the store's clock. Within Lease of
	// it nobody else deletes.
	Last time.Time `json:"last"`
	// Left says that this gc deletes no more, but does not know what became of a request.
	Left bool `json:"left"`
	// Void is when requests of earlier gcs that died, or of this one if it has left, are
	// void. It is not cleared before.
	Void time.Time `json:"void"`
}

// Until is when nobody has to wait any more for what is condemned, at the latest.
func (d *Due) Until() time.Time { return voidAfter(d) }

const (
	// MaxSkew is how long a request can linger in a network: a store refuses one that was
	// signed longer ago.
	MaxSkew = 15 * time.Minute
	// Lease is how long after it was seen a gc may be alive.
	Lease = 2 * time.Minute
)

// Upload is something to upload: created, never overwritten, except by Put.
type Upload struct {
	Key  string
	Body Body
	Type string // Content-Type
	// Encoding is the Content-Encoding; "" for none.
	Encoding string
	Mutable  bool // is the Cache-Control for documents, not for content
	// For Put: it is probably not there yet; and when it is written, after those of a lower stage.
	Fresh bool
	Stage int
}

// Commit is one step of production.
type Commit struct {
	// Nonce is of NewNonce, anew for each call of Commit. The caller records it first, with
	// the base's Seq, so that it can ask Outcome later what became of it.
	Nonce string
	// Manifest is the tree that becomes production; nil if it stays.
	Manifest *generation.Manifest
	Document []byte // for clients, a JSON object; nil: as it is
	Event    []byte // a line of the history; nil for none
	History  []byte // its summary after Event; nil: as it is
	// Kept are the generations of the old pointer, production included, that stay kept; nil:
	// all. Only Collect deletes what the others had: leave that to it.
	Kept []int
	// Left are Pointer.Left from now on; nil: as they are.
	Left []int
	// Beside are the keys of mutable files that are written after this commit.
	Beside  []string
	Settled bool     // without a Manifest, false leaves it as it is
	Pending *Pending // without a Manifest, nil leaves it as it is
	Graves  string   // the tombstones from now on, which were uploaded; "": as they are
	Obeyed  *string  // see Pointer.Obeyed; nil: as it is
	Checked bool     // the health check of production is over: Pending becomes nil
	// Force writes over a pointer that is damaged, or lost if base has no ETag: only
	// recover does.
	Force bool
}

// Errors of Commit.
var (
	// ErrOutcome says that it is not known whether a commit happened. Nothing must be
	// deleted until it is.
	ErrOutcome = errors.New("it is not known whether production was switched")
	// ErrForeign says that the prefix, or the pointer, is not of this repository.
	ErrForeign = errors.New("was not written by this repository")
	// ErrDamaged says that an object of publish is not as publish wrote it.
	ErrDamaged = errors.New("is damaged")
	// ErrLost says that the pointer is gone, although it was there.
	ErrLost = errors.New("was deleted, and production with it")
)

// PointerError says that the pointer is there, and cannot be read. A base with its ETag can
// be written over with Commit.Force.
type PointerError struct {
	Key  string
	ETag string
	Date time.Time
	Err  error
}

func (e *PointerError) Error() string { return e.Key + ": " + e.Err.Error() }
func (e *PointerError) Unwrap() error { return e.Err }

// MovedError says that somebody else committed first. Now is what they made.
type MovedError struct{ Now *Pointer }

func (e *MovedError) Error() string { return "production was switched by somebody else" }
func (e *MovedError) Unwrap() error { return ErrMoved }

// CondemnedError says that a gc is deleting an object that the new tree needs.
type CondemnedError struct {
	Key   string
	Until time.Time // when the upload can be tried again
}

func (e *CondemnedError) Error() string { return e.Key + ": a gc is deleting this object" }

// ReplacedError says that a key has other bytes than those to upload, or the same ones, but
// made by somebody else. Those are not good enough: whoever made them may delete them, and
// publish never deletes or overwrites objects that do not carry its id.
type ReplacedError struct {
	Key     string
	Foreign bool
}

func (e *ReplacedError) Error() string {
	if e.Foreign {
		return e.Key + ": is an object that this repository did not make"
	}
	return e.Key + ": has other content in the object store"
}
