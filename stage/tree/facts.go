package tree

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Facts stores what formats have learned from content, by its digest: see
// [catalog.Memory]. If it is lost, the content is read again; nothing else happens.
//
// Anyone who can write to the file could claim anything about any content. So, like
// the file of a [Cache], it is trusted only if it belongs to the owner of its
// directory, or to root, and nobody else may write to it.
//
// The file has sealed lines (see durable.Line): the key of the digest (see factKey) and the
// fact, in base64.
// Several processes may append at once, because lines are written in one system call.
// A line that a crash tore is skipped. Compact needs the staging lock.
type Facts struct {
	cache  *Cache // for the rules of trust
	unread string
	look   bool

	mu     sync.Mutex
	list   []fact
	table  []int32  // places in list and 1, by the hash of their digest; 0 for none; at most half full
	blocks [][]byte // with the texts of facts, one after the other
	size   int      // bytes of all facts
	fresh  bytes.Buffer
	lines  int      // in the file
	wanted []uint64 // the prefixes of those that were used before Release, sorted
}

// fact is what was learned of one content. There may be one for each image of a large tree.
type fact struct {
	of    digest
	block uint16 // that has its text
	used  bool   // since the file was opened
	at    int32  // of its text in that
	size  int32  // of its text
}

const (
	maxFact  = 64 << 10  // bytes
	maxFacts = 256 << 20 // bytes of a file, and of all texts

	factBlock = 64 << 10 // bytes; one block that grows would be copied again and again
	// At least half of each two blocks is text, so a block has a number of 16 bits.
	_ = uint16(2*maxFacts/factBlock + 1)
)

// OpenFacts returns the facts at path. It reads the file at the first question. A
// missing or damaged file has no facts. With an empty path nothing is stored.
func OpenFacts(path string) *Facts {
	return &Facts{cache: OpenCache(path), unread: path}
}

// ReadFacts opens the facts read-only: new ones are forgotten.
func ReadFacts(path string) *Facts {
	f := OpenFacts(path)
	f.look = true
	return f
}

// Recall implements [catalog.Memory].
func (f *Facts) Recall(d catalog.Digest) ([]byte, bool) {
	sum, ok := factKey(d)
	if !ok {
		return nil, false
	}
	return f.RecallSum((*catalog.Sum)(&sum))
}

// RecallSum implements [catalog.SumMemory].
func (f *Facts) RecallSum(sum *catalog.Sum) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	if len(f.table) == 0 {
		return nil, false
	}
	at := f.table[f.slot((*digest)(sum))]
	if at == 0 {
		return nil, false
	}
	x := &f.list[at-1]
	x.used = true
	return f.text(x), true
}

// text is that of a fact.
func (f *Facts) text(x *fact) []byte {
	end := x.at + x.size
	return f.blocks[x.block][x.at:end:end]
}

var factSeed = maphash.MakeSeed()

// slot is where the table has a digest, or could have it.
func (f *Facts) slot(sum *digest) int {
	at := int(maphash.Comparable(factSeed, *sum)) & (len(f.table) - 1)
	for f.table[at] != 0 && f.list[f.table[at]-1].of != *sum {
		at = (at + 1) & (len(f.table) - 1)
	}
	return at
}

// grow makes room for more facts.
func (f *Facts) grow(more int) {
	f.list = slices.Grow(f.list, more)
	size := 64
	for size < 2*cap(f.list) {
		size *= 2
	}
	f.table = make([]int32, size)
	for i := range f.list {
		f.table[f.slot(&f.list[i].of)] = int32(i + 1)
	}
}

// Remember implements [catalog.Memory].
func (f *Facts) Remember(d catalog.Digest, text []byte) {
	sum, ok := factKey(d)
	if !ok || len(text) > maxFact {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	if !f.put(sum, text, true) || f.look || f.cache.path == "" {
		return
	}
	f.fresh.Write(factLine(f.fresh.AvailableBuffer(), sum, text))
	if f.fresh.Len() >= maxFresh {
		_ = f.flush() // the next command is slower, and nothing else
	}
}

// factKey is a sha256, or the first half of a sha512: as hard to find twice.
func factKey(d catalog.Digest) (digest, bool) {
	if d.Check() != nil {
		return digest{}, false
	}
	return parseDigest(d.Hex[:2*len(digest{})])
}

// factLine appends the line of a fact to out.
func factLine(out []byte, sum digest, text []byte) []byte {
	raw := append(append(make([]byte, 0, len(sum)+len(text)), sum[:]...), text...)
	coded := make([]byte, 0, base64.RawStdEncoding.EncodedLen(len(raw)))
	return durable.LineTo(out, base64.RawStdEncoding.AppendEncode(coded, raw))
}

// put adds a fact; false if there is no room.
func (f *Facts) put(sum digest, text []byte, used bool) bool {
	if f.size += len(text); f.size > maxFacts {
		f.size -= len(text)
		return false
	}
	block := len(f.blocks) - 1
	if block < 0 || len(f.blocks[block])+len(text) > cap(f.blocks[block]) {
		f.blocks = append(f.blocks, make([]byte, 0, factBlock))
		block++
	}
	at := len(f.blocks[block])
	f.blocks[block] = append(f.blocks[block], text...)
	if len(f.list) == cap(f.list) {
		f.grow(len(f.list) + 16)
	}
	slot := f.slot(&sum)
	if f.table[slot] == 0 {
		f.list = append(f.list, fact{of: sum})
		f.table[slot] = int32(len(f.list))
	}
	x := &f.list[f.table[slot]-1]
	x.block, x.at, x.size, x.used = uint16(block), int32(at), int32(len(text)), used
	return true
}

// load reads the file, if that has not been done. The caller holds mu.
func (f *Facts) load() {
	path := f.unread
	f.unread = ""
	if path == "" {
		return
	}
	file, err := durable.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil || !f.cache.believed(fi) {
		return
	}
	f.lines = 0
	f.grow(int(min(fi.Size(), maxFacts) / 300)) // most have about so many bytes
	f.read(io.LimitReader(file, maxFacts))
}

// read reads all undamaged lines.
func (f *Facts) read(file io.Reader) {
	r := bufio.NewReaderSize(file, 4*maxFact)
	raw := make([]byte, 0, 2*maxFact)
	for {
		line, err := r.ReadSlice('\n')
		whole := err == nil
		for err == bufio.ErrBufferFull {
			_, err = r.ReadSlice('\n')
		}
		if err != nil {
			return // the end; a torn last line is ignored
		}
		f.lines++
		text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'}))
		if !whole || !ok {
			continue
		}
		if raw, err = base64.RawStdEncoding.AppendDecode(raw[:0], text); err == nil && len(raw) >= len(digest{}) {
			f.put(digest(raw), raw[len(digest{}):], false)
		}
	}
}

// Save appends new facts to the file. It returns no error if the file cannot be
// written: see Cache.Save.
func (f *Facts) Save() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flush()
}

func (f *Facts) flush() error {
	if f.fresh.Len() == 0 {
		return nil
	}
	defer f.fresh.Reset()
	file, err := f.cache.openOwn()
	if file == nil {
		return unlessUnwritable(err)
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil || fi.Size() >= maxFacts {
		return err // until Compact makes room
	}
	lines := f.fresh.Bytes()
	last := []byte{0}
	if _, err := file.ReadAt(last, fi.Size()-1); fi.Size() > 0 && err == nil && last[0] != '\n' {
		lines = append([]byte{'\n'}, lines...) // a killed writer left half a line
	}
	f.lines += bytes.Count(lines, []byte{'\n'})
	_, err = file.Write(lines)
	return unlessUnwritable(err)
}

// Release is Save for a format that has read all of a tree: the memory of the facts is
// free again. The next question reads the file again.
func (f *Facts) Release() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.flush()
	if f.unread == "" {
		f.wanted = f.used()
		f.unread, f.list, f.table, f.blocks, f.size, f.fresh = f.cache.path, nil, nil, nil, 0, bytes.Buffer{}
	}
	return err
}

// used returns the prefixes of the facts that were used since the file was opened, sorted.
func (f *Facts) used() []uint64 {
	n := len(f.wanted)
	for i := range f.list {
		if f.list[i].used {
			n++
		}
	}
	out := append(make([]uint64, 0, n), f.wanted...)
	for i := range f.list {
		if f.list[i].used {
			out = append(out, f.list[i].of.prefix())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Compact rewrites the file with the facts that were used since it was opened, if it
// has many others. Call it after all of a tree was read, under the staging lock, and
// after Save.
func (f *Facts) Compact() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := f.used()
	fi, err := os.Lstat(f.cache.path)
	if err != nil || !f.cache.believed(fi) || f.lines < 2*len(used)+1000 {
		return nil
	}
	f.load() // again, after Release
	return unlessUnwritable(durable.WriteWith(f.cache.path, fi.Mode().Perm()&fs.FileMode(0o644), func(w io.Writer) error {
		f.lines = 0
		for i := range f.list {
			x := &f.list[i]
			if _, is := slices.BinarySearch(used, x.of.prefix()); is {
				f.lines++
				if _, err := w.Write(factLine(nil, x.of, f.text(x))); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}
