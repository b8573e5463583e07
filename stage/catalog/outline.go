package catalog

import (
	"context"
	"hash/maphash"
)

// An Outliner is a Format whose content is called by its own sha256. What the indexes
// need then shows from the indexes and from what a [Memory] knows, and what is there from
// the names alone: nobody has to look at each file. Whether the files have the right
// bytes does not show: that is the matter of Read, and of who validates a tree.
type Outliner interface {
	// Addressed reports whether a file of a directory is called by the sha256 of its
	// content, in lower-case hex.
	Addressed(dir string) bool
	// Outline reads the documents of a tree. It is nil for a tree that is not in the
	// usual form, or of which a document has an error: then Read tells. It does not read
	// content that the source remembers.
	Outline(ctx context.Context, src Source) (*Outline, error)
}

// Outline is what the indexes of a tree need.
type Outline struct {
	Images    []Outlined // by Product, Version
	Type      string     // Image.Type of each
	Documents []string   // as in a Catalog
	Blobs     *Blobs     // all that the images need, and what is Vital
	// Vital are blobs without which the outline is not right: Read has to tell.
	Vital []int

	// Each calls f once for each blob that an image needs, given by its place in Images.
	// It is not safe for concurrent use.
	Each func(image int, f func(blob int))
	// Digests are Image.Digests of an image.
	Digests func(image int) []string
	// Lost reports whether a blob was read in vain: it is missing, or has other bytes.
	Lost func(blob int) bool
	// Forms are the own forms of the documents, in their order.
	Forms func() []Form
	// Without is Format.Without for images that are given by their places.
	Without func(drop func(image int) bool) []Document
}

// Outlined is an image of an Outline.
type Outlined struct {
	Product string
	Version string
	Digest  string // Image.Fingerprint
	Exempt  string // as in a Version
	Rank    int    // likewise
}

// Of is the name of the image's version.
func (o *Outlined) Of() Name { return Name{o.Product, o.Version} }

// Form is the own form of a document.
type Form struct {
	Path   string
	Size   int64
	SHA256 string // lower-case hex
}

// Sum is a sha256.
type Sum [32]byte

// ParseSum reads a sha256 in lower-case hex.
func ParseSum[T string | []byte](digits T) (sum Sum, ok bool) {
	if len(digits) != 2*len(sum) {
		return sum, false
	}
	var odd byte
	for i := range sum {
		high, low := nibbles[digits[2*i]], nibbles[digits[2*i+1]]
		odd |= high | low
		sum[i] = high<<4 | low&15
	}
	return sum, odd < 16
}

// nibbles are the values of digits; 255 for what is none.
var nibbles = func() (out [256]byte) {
	for i := range out {
		switch c := byte(i); {
		case c >= '0' && c <= '9':
			out[i] = c - '0'
		case c >= 'a' && c <= 'f':
			out[i] = c - 'a' + 10
		default:
			out[i] = 255
		}
	}
	return out
}()

// Blobs is a list of blobs, each in a directory. It takes 64 bytes for each.
type Blobs struct {
	Dirs  []string // Addressed
	list  []Blob
	table []int32 // places in list and 1, by the hash of dir and sum; 0 for none; at most half full
}

// Blob is one of them.
type Blob struct {
	Sum  Sum
	Size int64 // bytes, as who needs it says
	Dir  int32 // its place in Blobs.Dirs
}

// Len is how many there are.
func (b *Blobs) Len() int { return len(b.list) }

// At returns one.
func (b *Blobs) At(i int) *Blob { return &b.list[i] }

// Grow makes room for more.
func (b *Blobs) Grow(n int) {
	list := make([]Blob, len(b.list), len(b.list)+n)
	copy(list, b.list)
	b.list = list
	b.rehash(cap(list))
}

// Add returns the place of a blob, which is new with this size, or was there before.
func (b *Blobs) Add(dir int32, sum Sum, size int64) (at int, fresh bool) {
	if 2*(len(b.list)+1) > len(b.table) {
		b.rehash(max(64, 2*len(b.list)))
	}
	slot, ok := b.slot(dir, &sum)
	if ok {
		return int(b.table[slot] - 1), false
	}
	b.list = append(b.list, Blob{sum, size, dir})
	b.table[slot] = int32(len(b.list))
	return len(b.list) - 1, true
}

// Find returns the place of a blob; -1 for none.
func (b *Blobs) Find(dir int32, sum *Sum) int {
	if len(b.table) == 0 {
		return -1
	}
	slot, ok := b.slot(dir, sum)
	if !ok {
		return -1
	}
	return int(b.table[slot] - 1)
}

// slot is where the table has a blob, or could have it.
func (b *Blobs) slot(dir int32, sum *Sum) (at int, ok bool) {
	for at = b.start(dir, sum); b.table[at] != 0; at = (at + 1) & (len(b.table) - 1) {
		if x := &b.list[b.table[at]-1]; x.Dir == dir && x.Sum == *sum {
			return at, true
		}
	}
	return at, false
}

// start is where to look first. Whoever chooses the bytes of a content chooses some of the
// digits of its sum with effort for each: the seed makes that useless.
func (b *Blobs) start(dir int32, sum *Sum) int {
	return int(maphash.Comparable(blobSeed, *sum)+uint64(dir)*0x9e3779b97f4a7c15) & (len(b.table) - 1)
}

var blobSeed = maphash.MakeSeed()

// rehash makes a table with room for n blobs.
func (b *Blobs) rehash(n int) {
	size := 64
	for size < 2*n {
		size *= 2
	}
	b.table = make([]int32, size)
	for i := range b.list {
		at, _ := b.slot(b.list[i].Dir, &b.list[i].Sum)
		b.table[at] = int32(i + 1)
	}
}
