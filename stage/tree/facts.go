package tree

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
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
// A line that a crash tore is skipped. Compact needs the staging lock. The facts stay in the
// file, and one is read when it is asked for: all of those of a large tree need much memory.
type Facts struct {
	cache  *Cache // for the rules of trust
	unread string
	look   bool

	mu    sync.Mutex
	file  *os.File // that has saved; nil for none
	saved lines    // marked are those that were used since the file was opened
	newer map[digest][]byte
	size  int // bytes of newer
	fresh bytes.Buffer
	lines int // in the file
}

const (
	maxFact  = 64 << 10  // bytes
	maxFacts = 256 << 20 // bytes of a file, and of facts in memory
)

// OpenFacts returns the facts at path. It reads the file at the first question. A
// missing or damaged file has no facts. With an empty path nothing is stored.
func OpenFacts(path string) *Facts {
	return &Facts{cache: OpenCache(path), unread: path, newer: map[digest][]byte{}}
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
	if text, ok := f.newer[digest(*sum)]; ok {
		return text, true
	}
	line, ok := f.saved.find(factHash((*digest)(sum)), true, isFact((*digest)(sum)))
	if !ok {
		return nil, false
	}
	raw, err := base64.RawStdEncoding.AppendDecode(nil, line)
	if err != nil {
		return nil, false
	}
	return raw[len(digest{}):], true
}

func factHash(of *digest) uint64 { return maphash.Comparable(lineSeed, *of) }

// isFact returns a function that recognizes the line of a content.
func isFact(of *digest) func(line []byte) bool {
	return func(line []byte) bool {
		is, ok := factDigest(line)
		return ok && is == *of
	}
}

// factDigest is the digest that a line is about.
func factDigest(line []byte) (of digest, ok bool) {
	const coded = (len(of) + 2) / 3 * 4
	var raw [coded / 4 * 3]byte
	n, err := base64.RawStdEncoding.Decode(raw[:], line[:min(coded, len(line))])
	copy(of[:], raw[:])
	return of, err == nil && n >= len(of)
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
	if f.size+len(text) > maxFacts {
		return
	}
	f.newer[sum] = bytes.Clone(text)
	if f.size += len(text); f.look || f.cache.path == "" {
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
	if fi, err := file.Stat(); err == nil && f.cache.believed(fi) {
		f.saved.from = file
		f.read(io.LimitReader(file, maxFacts))
	}
	if f.saved.n == 0 {
		_ = file.Close() // nothing was written to it
	} else {
		f.file = file // the runtime closes it
	}
}

// read finds all undamaged lines.
func (f *Facts) read(file io.Reader) {
	r := bufio.NewReaderSize(file, 4*maxFact)
	at := int64(0)
	for {
		line, err := r.ReadSlice('\n')
		size, whole := int64(len(line)), err == nil
		for err == bufio.ErrBufferFull {
			line, err = r.ReadSlice('\n')
			size += int64(len(line))
		}
		if err != nil {
			return // the end; a torn last line is ignored
		}
		f.lines++
		if whole {
			f.found(line, at)
		}
		at += size
	}
}

// found adds the line at a place.
func (f *Facts) found(line []byte, at int64) {
	text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'}))
	if !ok {
		return
	}
	if of, ok := factDigest(text); ok {
		f.saved.add(factHash(&of), at, false, isFact(&of))
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
	fi, err := file.Stat()
	if err != nil || fi.Size() >= maxFacts {
		return errors.Join(err, file.Close()) // until Compact makes room
	}
	lines := f.fresh.Bytes()
	last := []byte{0}
	if _, err := file.ReadAt(last, fi.Size()-1); fi.Size() > 0 && err == nil && last[0] != '\n' {
		lines = append([]byte{'\n'}, lines...) // a killed writer left half a line
	}
	f.lines += bytes.Count(lines, []byte{'\n'})
	if _, err = file.Write(lines); err == nil && f.settle(file, lines) {
		return nil
	}
	return unlessUnwritable(errors.Join(err, file.Close()))
}

// settle forgets facts whose lines were written to file. It reports whether file has to stay
// open.
func (f *Facts) settle(file *os.File, text []byte) (stays bool) {
	f.file = f.saved.written(f.file, file, text, func(text []byte, at int64) {
		if of, ok := factDigest(text); ok && f.saved.add(factHash(&of), at, true, isFact(&of)) {
			f.size -= len(f.newer[of])
			delete(f.newer, of)
		}
	})
	return f.file == file
}

// Compact rewrites the file with the facts that were used since it was opened, if it
// has many others. Call it after all of a tree was read, under the staging lock, and
// after Save.
func (f *Facts) Compact() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := f.saved.places(true)
	fi, err := os.Lstat(f.cache.path)
	if err != nil || !f.cache.believed(fi) || f.lines < 2*(len(used)+len(f.newer))+1000 {
		return nil
	}
	return unlessUnwritable(durable.WriteWith(f.cache.path, fi.Mode().Perm()&fs.FileMode(0o644), func(w io.Writer) error {
		f.lines = 0
		for _, at := range used {
			text, ok := f.saved.text(at)
			if !ok {
				continue
			}
			of, _ := factDigest(text)
			if _, is := f.newer[of]; is {
				continue
			}
			f.lines++
			if _, err := w.Write(durable.Line(text)); err != nil {
				return err
			}
		}
		for of, text := range f.newer {
			f.lines++
			if _, err := w.Write(factLine(nil, of, text)); err != nil {
				return err
			}
		}
		return nil
	}))
}
