// Package catalog holds the types with which every format of image tree answers
// the rest of the program, and nothing that is particular to one format.
//
// A Format reads the indexes of a tree (a Source) and answers with a Catalog: the
// files that the indexes name (items), the images that clients see, and what is
// wrong with the indexes themselves (findings). It reads index documents, and
// content only by its digest. Package stage checks, once for all formats, whether
// the named files exist and have the right bytes. Paths in an index are input from
// outside: a format cleans them (see Clean) and reports those that are unsafe, and
// nobody follows them.
package catalog

import (
	"cmp"
	"context"
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Role says whether a path may ever hold other bytes.
type Role string

const (
	// Content never changes under its name: what an index names by its hash.
	Content Role = "content"
	// Mutable files are rewritten under one name: indexes, pages, signatures.
	Mutable Role = "mutable"
	// Link is a relative symbolic link inside a plain tree.
	Link Role = "link"
	// Signature files say who made the tree. They are made for a generation, and belong to
	// no tree that is staged: neither its id nor a diff is about them.
	Signature Role = "signature"
)

// Item is one file that an index names.
type Item struct {
	Path    string // cleaned, slash-separated, relative to the tree's root
	Size    int64  // bytes; -1 when the index does not say
	SHA256  string // lower-case hex; "" when the index does not tell
	SHA512  string // lower-case hex; "" when the index does not tell
	MD5     string // lower-case hex; "" when the index does not tell
	Product string // simplestreams product, or OCI repository
	Version string // simplestreams version, or OCI tag
	Name    string // the item's key within its version; "" where the path tells all
	Index   string // path of the document that names it
	// Apart says that other tools write to such a file in place. So its owner may write
	// to it in staging: it is not sealed there, and a tree does not share it.
	Apart bool
}

// Where names the item for people: its version, and its own name in that.
func (i Item) Where(f Format) string {
	if i.Name == "" {
		return f.Ref(i.Of())
	}
	return f.Ref(i.Of()) + "/" + i.Name
}

// Of is the name of the version that owns the item.
func (i Item) Of() Name { return Name{i.Product, i.Version} }

// Pair is a hash over two items' bytes, one after the other, as the combined
// hashes of simplestreams are.
type Pair struct {
	First, Second int    // places in Catalog.Items
	SHA256        string // what the index says, lower-case hex
	Field         string // of the first item, which says it
}

// Image is what a client can ask for by name, or what stands for a version that
// clients skip: one of its images, or all its items where they make none.
type Image struct {
	Product     string    `json:"product"`
	Version     string    `json:"version"`     // "" for a product that has no version
	Ref         string    `json:"-"`           // what people write: Format.Ref of its name; "" for product/version
	Type        string    `json:"type"`        // container or virtual-machine; Skipped's is NoType
	Fingerprint string    `json:"fingerprint"` // "" where its items make no image
	Aliases     []string  `json:"aliases"`     // never nil
	Bytes       int64     `json:"bytes"`
	Created     time.Time `json:"created"` // from the version's name, UTC; zero when it has none
	Paths       []string  `json:"-"`       // the items it needs
	// Before is, in a Change, the fingerprint that its name stood for until then; ""
	// where that was none, or the same.
	Before string `json:"-"`
	// Digests are those by which an inventory may name it (see Tagger), each with its
	// algorithm; nil in a format without tags.
	Digests []string `json:"-"`
	// Skipped is why clients skip it, in lower case, without its name; ""
	// where they list it.
	Skipped string `json:"skipped,omitempty"`
}

// Of is the name of the image's version.
func (i Image) Of() Name { return Name{i.Product, i.Version} }

// Called is what people write and read for the image.
func (i Image) Called() string { return cmp.Or(i.Ref, i.Of().String()) }

// NoType is the Type of what clients skip.
const NoType = "-"

// Unit is what a diff counts: a product's version, or the description of a
// product (its names, aliases and requirements) apart from its versions.
type Unit struct {
	Key    string // Format.Ref of its name; the product alone when Group
	Digest string // changes when anything in the unit changes
	Group  bool   // reported only when it changed, never as added or removed
}

// Version is one version of a product, whether or not a client sees it.
type Version struct {
	Product string
	Name    string
	Skipped string    // why clients skip it; "" where they list an image of it
	Time    time.Time // in its name, UTC; zero when it has none
	// its place among the product's versions when their names are ordered as numbers; 0 is the oldest
	Rank       int
	SupportEOL time.Time // some time of the last day, UTC, on which the product is supported; zero when it names none
	Exempt     string    // why no rule for tags decides on it; "" where one may
}

// Of is the version with its product.
func (v Version) Of() Name { return Name{v.Product, v.Name} }

// Severity says whether a finding stops a promote.
type Severity string

const (
	// Error stops a promote: a client would fail.
	Error Severity = "error"
	// Warning does not: a client skips something or is surprised.
	Warning Severity = "warning"
)

// Finding is one failure of validation.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"` // stable, kebab-case
	Path     string   `json:"path"` // relative to the tree; "" for the tree as a whole
	Message  string   `json:"message"`
	// Product is the one that it is about as a whole: of these there is one
	// for each code. "" where it is about something else.
	Product string `json:"-"`
}

// Catalog is what the indexes of one tree say. Slices are sorted and may be shared:
// do not write to them.
type Catalog struct {
	Items    []Item    // by Path, then Product, Version, Name; one path may be named more than once
	Pairs    []Pair    // in no order that means anything
	Images   []Image   // by Product, Version, Fingerprint; at least one of each version
	Units    []Unit    // by Key
	Versions []Version // by Product, Name
	Findings []Finding // by Path, Code, Message

	// Documents are the index and all that it names as documents, sorted,
	// whether they are there or not: see Within.
	Documents []string

	// Listed are, for documents of a [Server], what the indexes that they name list:
	// clients also ask the document for it. By the path of the document.
	Listed map[string][]Naming

	// Half are documents that end before their time: somebody may be writing them
	// just now. Each has a finding also.
	Half []string
}

// Class is what a path's name alone says: see Within for what the indexes say.
type Class int

const (
	// Other files are published as they are.
	Other Class = iota
	// Index documents say what the tree holds.
	Index
	// ItemLike files are published only when an index names them.
	ItemLike
	// InProgress files are uploads that have not ended: never published.
	InProgress
	// Whole files are the payload of a tree that has no indexes: published
	// as they are, relative links among them too. Replacing one is worth a
	// warning, since no index shows a client that it changed.
	Whole
)

// Document is a file that a format wants written.
type Document struct {
	Path string // relative to the tree
	Data []byte // nil: remove the file
}

// Format reads and rewrites the indexes of one kind of image tree.
type Format interface {
	// Name is what publish.yaml calls it.
	Name() string
	// Class returns what a cleaned path is by its name alone. The documents
	// that an index names may lie anywhere: see Within.
	Class(path string) Class
	// Documents is Catalog.Documents, from no more than the index itself.
	Documents(src Source) ([]string, error)
	// Ref is what people write and read for a name: product/version, or
	// repository:tag.
	Ref(Name) string
	// ParseRef reads what Ref wrote. Any text is a name: at least a group.
	ParseRef(string) Name
	// Clearsigned is the name of the twin that a document has where somebody
	// signs it as text; "" in a format without such twins.
	Clearsigned(document string) string
	// Read reads the indexes of a tree. What is wrong with them is in the
	// catalog's findings; an error means that a document could not be read at
	// all (I/O, permission, the end of ctx), never that its content is bad.
	Read(ctx context.Context, src Source) (*Catalog, error)
	// Without returns the documents to write, in the order in which to write
	// them, so that no index names an image for which drop is true. It asks
	// about every Image that Read lists, and about each item that no image of
	// its version needs, as an Image of its own. Fields that the format does
	// not know survive. Documents that do not change are left out.
	Without(ctx context.Context, src Source, drop func(Image) bool) ([]Document, error)
	// WithoutVersions is Without for whole versions: of each name for which
	// drop is true, all images and all other items go. A group that has no
	// versions is a Name without one.
	WithoutVersions(ctx context.Context, src Source, drop func(Name) bool) ([]Document, error)
	// Bring recognizes an image in an Input, puts its files into a Sink, and
	// returns the Edit with which a tree names it. It looks at all that can be
	// wrong before the long part. ErrByHand: the format adds nothing in this way.
	Bring(ctx context.Context, in Input, to Sink, opt Addition) (Edit, error)
	// Merge returns the Edit with which a tree names all that theirs names; the
	// caller adds the files themselves. Where both have something, theirs wins;
	// what only the tree has stays.
	Merge(ctx context.Context, theirs Source) (Edit, error)
	// Setup returns what people type once, before the Commands for any image.
	Setup(at Address) []Command
	// Commands returns what people type to get an image of Read, or a file that is
	// Whole; first the usual way. latest says that the image's version is the one that
	// clients choose by its product alone.
	Commands(at Address, i Image, latest bool) []Command
}

// Within returns f as it is in a tree whose indexes name these documents: each
// of them is an Index, whatever it is called.
func Within(f Format, documents []string) Format {
	w := within{Format: f, documents: make(map[string]bool, len(documents))}
	for _, d := range documents {
		w.documents[d] = true
		w.lengths |= 1 << (len(d) % 64)
	}
	return w
}

type within struct {
	Format
	documents map[string]bool
	lengths   uint64 // a bit for each length, modulo 64, that a document's path has
}

func (w within) Class(path string) Class {
	if w.lengths>>(len(path)%64)&1 != 0 && w.documents[path] {
		return Index
	}
	return w.Format.Class(path)
}

// An Expirer is a Format whose images may say when they expire, each in the
// first of its files.
type Expirer interface {
	// Expires reads that file; the zero time when the image never does.
	Expires(metadata io.Reader) (time.Time, error)
}

// Clean returns the cleaned form of a path from an index or a directory
// listing, relative to the tree. ok is false, and problem says why, for a
// path that must never be followed: absolute, climbing out, empty, or with
// bytes that a report, a URL or a manifest could not carry.
func Clean(p string) (clean, problem string, ok bool) {
	if plain(p) { // as nearly all of a hundred thousand are
		return p, "", true
	}
	switch {
	case p == "":
		return "", "is empty", false
	case !utf8.ValidString(p):
		return "", "is not valid UTF-8", false
	case strings.ContainsFunc(p, unicode.IsControl):
		return "", "has a control character", false
	case strings.HasPrefix(p, "/"):
		return "", "is absolute", false
	}
	c := path.Clean(p)
	if c == "." || c == ".." || strings.HasPrefix(c, "../") {
		return "", "leads out of the tree", false
	}
	return c, "", true
}

// plain reports whether a path is clean as it stands, with nothing but printable
// ASCII, and no part that begins with a dot.
func plain(p string) bool {
	before := byte('/')
	for i := range len(p) {
		c := p[i]
		if c < 0x20 || c >= 0x7f || before == '/' && (c == '/' || c == '.') {
			return false
		}
		before = c
	}
	return before != '/'
}

// Reserved reports whether a path belongs to this program: every top-level
// name that starts with ".publish-", such as the identity file of a
// generation. Formats, diffs and tree ids pass it over.
func Reserved(p string) bool { return strings.HasPrefix(p, ".publish-") }

// Sort orders findings as they are reported.
func Sort(findings []Finding) {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
}
