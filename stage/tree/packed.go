package tree

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"hash/maphash"
	"io"
	"slices"
	"strings"
)

// packed is the first part of the file of a Cache, which Compact writes. Its files are
// sorted by path. Callers that have walked a tree ask in the same order, so the answer is
// usually the next record. So of the records of files only one block is in memory: with
// those of a large tree a command would need twice as much. The others are read again
// when they are asked for; nobody writes to them, since Compact makes a new file.
//
// The file begins with the line packedMagic. Then come blocks. A block has a
// header and records. The header is the kind, and three little-endian numbers of
// 32 bits: the number of records, their length in bytes, and the CRC-32C over the
// header so far and the records. A damaged block is skipped. If a header makes no
// sense, the rest of the file is read as lines of text.
//
//	F files   sha256, size, mtime, ctime, inode, 1 if sealed, length of the path, path
//	C pairs   sha256 of the first, of the second, of both
//	E ends    sha256 of the metadata, seconds since 1970
//	L longs   sha256 of a content, its sha512
//	Z         a line feed; it is the last block, and lines of text follow
type packed struct {
	from   io.ReaderAt // has the blocks
	blocks []block     // of files
	files  []uint32    // for each file the number of its block and, in the low 16 bits, the offset there
	next   int         // the file after the one that was found last
	window []byte      // the records of one block
	shown  int         // the number of that block, from 1; 0 for none
	pairs  [][]byte
	table  []uint32 // hash table of pairs, whose numbers begin at 1; nil until it is needed
	seed   maphash.Seed
	ends   [][]byte
	longs  [][]byte
}

// block is where a block of files is.
type block struct {
	at          int64  // of its records
	size        int    // of these, in bytes
	header, sum uint32 // the checksums over the header so far, and over all
	files       int    // how many are in the blocks before
	first       string // the path of its first file
}

const (
	packedMagic = "publish-hashes 2\n"
	headerLen   = 1 + 3*4

	pathAt  = len(digest{}) + 4*8 + 1 + 2 // in the record of a file
	pairLen = 3 * len(digest{})
	endLen  = len(digest{}) + 8
	longLen = len(digest{}) + len(long{})

	maxBlock = 1<<16 - 1 // bytes of records
	maxPath  = 1 << 15   // files with longer paths are not stored
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errBadBlock = errors.New("the checksum of this block is wrong")
	errNoBlock  = errors.New("no block is here, or only a part of one")
)

// read reads the blocks at the beginning of r, which is at the beginning of from, and
// returns the rest, which is lines of text, and where that begins; -1 if it does not
// stand in one piece.
func (p *packed) read(r *bufio.Reader, from io.ReaderAt) (rest io.Reader, begins int64) {
	if magic, err := r.Peek(len(packedMagic)); err != nil || string(magic) != packedMagic {
		return r, 0
	}
	_, _ = r.Discard(len(packedMagic))
	p.from = from
	at := int64(len(packedMagic))
	var damaged []byte // the previous block if it was damaged: in a truncated file, it may hold lines
	for {
		block, err := p.readBlock(r, at)
		at += headerLen + int64(len(block))
		switch {
		case errors.Is(err, errBadBlock):
			damaged = block
		case errors.Is(err, io.EOF):
			return r, at
		case err != nil:
			return io.MultiReader(bytes.NewReader(damaged), bytes.NewReader(block), r), -1
		default:
			damaged = nil
		}
	}
}

// readBlock reads one block, which begins at the byte at. The error is io.EOF for the
// last block; errBadBlock for a damaged one that another block may follow; and errNoBlock
// if the rest is not blocks. It returns the bytes that it read as records.
func (p *packed) readBlock(r *bufio.Reader, at int64) ([]byte, error) {
	header, err := r.Peek(headerLen)
	if err != nil {
		return nil, errNoBlock
	}
	kind, n, size := header[0], binary.LittleEndian.Uint32(header[1:]), binary.LittleEndian.Uint32(header[5:])
	sum := crc32.Checksum(header[:9], castagnoli)
	want := binary.LittleEndian.Uint32(header[9:])
	if !strings.ContainsRune("FCELZ", rune(kind)) || size == 0 || size > maxBlock {
		return nil, errNoBlock
	}
	_, _ = r.Discard(headerLen)
	data := p.room(int(size))
	if kind != 'F' { // it stays
		data = make([]byte, size)
	}
	if n, err := io.ReadFull(r, data); err != nil {
		return slices.Clone(data[:n]), errNoBlock
	}
	if crc32.Update(sum, castagnoli, data) != want {
		return slices.Clone(data), errBadBlock
	}
	switch {
	case kind == 'F':
		p.addFiles(block{at: at + headerLen, size: int(size), header: sum, sum: want, files: len(p.files)}, data, int(n))
	case kind == 'C' && int(size) == int(n)*pairLen:
		p.pairs = append(p.pairs, data)
	case kind == 'E' && int(size) == int(n)*endLen:
		p.ends = append(p.ends, data)
	case kind == 'L' && int(size) == int(n)*longLen:
		p.longs = append(p.longs, data)
	case kind == 'Z':
		return data, io.EOF
	}
	return data, nil
}

// room is the window with so many bytes.
func (p *packed) room(size int) []byte {
	if p.shown = 0; cap(p.window) < size {
		p.window = make([]byte, maxBlock)
	}
	return p.window[:size]
}

// addFiles finds the records of a block. It stops at a record that is not valid.
func (p *packed) addFiles(b block, data []byte, n int) {
	if len(p.blocks) > 1<<16-1 {
		return
	}
	place := uint32(len(p.blocks)) << 16
	p.files = slices.Grow(p.files, min(n, len(data)/pathAt))
	for at := 0; at+pathAt <= len(data); {
		end := at + pathAt + int(binary.LittleEndian.Uint16(data[at+pathAt-2:]))
		if end > len(data) {
			break
		}
		if at == 0 {
			b.first = string(data[pathAt:end])
		}
		p.files = append(p.files, place|uint32(at))
		at = end
	}
	if len(p.files) > b.files {
		p.blocks = append(p.blocks, b)
	}
}

// record returns the bytes from the record of file i to the end of its block. They are
// zeros if the block cannot be read any more. They change when another record is asked for.
func (p *packed) record(i int) []byte {
	n := int(p.files[i] >> 16)
	if p.shown != n+1 {
		b := &p.blocks[n]
		data := p.room(b.size)
		_, err := p.from.ReadAt(data, b.at)
		if err != nil || crc32.Update(b.header, castagnoli, data) != b.sum {
			clear(data)
		}
		p.shown = n + 1
	}
	return p.window[p.files[i]&0xffff : p.blocks[n].size]
}

// path returns the path of file i. It changes when another record is asked for.
func (p *packed) path(i int) []byte {
	r := p.record(i)
	return r[pathAt : pathAt+int(binary.LittleEndian.Uint16(r[pathAt-2:]))]
}

func (p *packed) file(i int) (e cached) {
	r := p.record(i)
	n := copy(e.sum[:], r)
	e.size = int64(binary.LittleEndian.Uint64(r[n:]))
	e.mtime = int64(binary.LittleEndian.Uint64(r[n+8:]))
	e.ctime = int64(binary.LittleEndian.Uint64(r[n+16:]))
	e.ino = binary.LittleEndian.Uint64(r[n+24:])
	e.sealed = r[n+32] == 1
	return e
}

// find returns the file at path.
func (p *packed) find(path string) (cached, bool) {
	i := p.next
	if i >= len(p.files) || string(p.path(i)) != path {
		var ok bool
		if i, ok = p.search(path); !ok {
			p.next = i
			return cached{}, false
		}
	}
	p.next = i + 1
	return p.file(i), true
}

// search returns the index of a path, or the index where it would be inserted.
func (p *packed) search(path string) (int, bool) {
	if i := p.next; i > 0 && i < len(p.files) && string(p.path(i)) > path && string(p.path(i-1)) < path {
		return i, false
	}
	n, _ := slices.BinarySearchFunc(p.blocks, path, func(b block, path string) int {
		if b.first <= path {
			return -1
		}
		return 1
	})
	if n == 0 {
		return 0, false
	}
	from, to := p.blocks[n-1].files, len(p.files)
	if n < len(p.blocks) {
		to = p.blocks[n].files
	}
	for from < to {
		i := int(uint(from+to) >> 1)
		switch at := p.path(i); {
		case string(at) == path:
			return i, true
		case string(at) < path:
			from = i + 1
		default:
			to = i
		}
	}
	return from, false
}

// pair returns the sha256 over two contents.
func (p *packed) pair(of pair) (both digest, ok bool) {
	if len(p.pairs) == 0 {
		return both, false
	}
	if p.table == nil {
		p.index()
	}
	var key [2 * len(digest{})]byte
	copy(key[copy(key[:], of.first[:]):], of.second[:])
	for i := p.slot(key[:]); p.table[i] != 0; i = (i + 1) % len(p.table) {
		if r := p.pairAt(p.table[i]); bytes.Equal(r[:len(key)], key[:]) {
			return digest(r[len(key):pairLen]), true
		}
	}
	return both, false
}

// index makes the hash table of pairs. It is at most half full.
func (p *packed) index() {
	n := 0
	for _, b := range p.pairs {
		n += len(b) / pairLen
	}
	p.table, p.seed = make([]uint32, 2*n+1), maphash.MakeSeed()
	for at := range p.places {
		i := p.slot(p.pairAt(at)[:2*len(digest{})])
		for p.table[i] != 0 {
			i = (i + 1) % len(p.table)
		}
		p.table[i] = at
	}
}

func (p *packed) slot(key []byte) int { return int(maphash.Bytes(p.seed, key) % uint64(len(p.table))) }

const pairsInBlock = maxBlock / pairLen

// places yields the numbers of all pairs, for the table.
func (p *packed) places(yield func(at uint32) bool) {
	for b, block := range p.pairs {
		for i := range len(block) / pairLen {
			if !yield(uint32(b*pairsInBlock + i + 1)) {
				return
			}
		}
	}
}

func (p *packed) pairAt(at uint32) []byte {
	i := int(at - 1)
	return p.pairs[i/pairsInBlock][i%pairsInBlock*pairLen:]
}

// eachPair yields all pairs.
func (p *packed) eachPair(yield func(pair, digest) bool) {
	for at := range p.places {
		r := p.pairAt(at)
		n := len(digest{})
		if !yield(pair{digest(r[:n]), digest(r[n : 2*n])}, digest(r[2*n:3*n])) {
			return
		}
	}
}

// records returns the number of records of all kinds.
func (p *packed) records() int {
	n := len(p.files)
	for range p.places {
		n++
	}
	for range p.eachEnd {
		n++
	}
	for range p.eachLong {
		n++
	}
	return n
}

// eachEnd yields the expiry of images, in seconds since 1970, by the sha256 of
// their metadata.
func (p *packed) eachEnd(yield func(digest, int64) bool) {
	n := len(digest{})
	for _, block := range p.ends {
		for r := block; len(r) >= endLen; r = r[endLen:] {
			if !yield(digest(r[:n]), int64(binary.LittleEndian.Uint64(r[n:]))) {
				return
			}
		}
	}
}

// eachLong yields the sha512 of contents, by their sha256.
func (p *packed) eachLong(yield func(digest, long) bool) {
	n := len(digest{})
	for _, block := range p.longs {
		for r := block; len(r) >= longLen; r = r[longLen:] {
			if !yield(digest(r[:n]), long(r[n:longLen])) {
				return
			}
		}
	}
}

// packer writes the form that packed reads.
type packer struct {
	w      io.Writer
	kind   byte
	n      uint32
	block  []byte
	failed error
}

func newPacker(w io.Writer) *packer {
	p := &packer{w: w, block: make([]byte, 0, maxBlock)}
	_, p.failed = io.WriteString(w, packedMagic)
	return p
}

// room counts a record of size bytes, and begins another block if needed.
func (p *packer) room(kind byte, size int) {
	if kind != p.kind || len(p.block)+size > maxBlock {
		p.flush()
		p.kind = kind
	}
	p.n++
}

func (p *packer) flush() {
	if p.n == 0 {
		return
	}
	header := binary.LittleEndian.AppendUint32([]byte{p.kind}, p.n)
	header = binary.LittleEndian.AppendUint32(header, uint32(len(p.block)))
	header = binary.LittleEndian.AppendUint32(header, crc32.Update(crc32.Checksum(header, castagnoli), castagnoli,
		p.block))
	for _, b := range [][]byte{header, p.block} {
		if p.failed == nil {
			_, p.failed = p.w.Write(b)
		}
	}
	p.n, p.block = 0, p.block[:0]
}

func (p *packer) file(path string, e cached) {
	p.room('F', pathAt+len(path))
	b := append(p.block, e.sum[:]...)
	for _, n := range []uint64{uint64(e.size), uint64(e.mtime), uint64(e.ctime), e.ino} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	sealed := byte(0)
	if e.sealed {
		sealed = 1
	}
	b = binary.LittleEndian.AppendUint16(append(b, sealed), uint16(len(path)))
	p.block = append(b, path...)
}

func (p *packer) pair(of pair, both digest) {
	p.room('C', pairLen)
	p.block = append(append(append(p.block, of.first[:]...), of.second[:]...), both[:]...)
}

func (p *packer) end(of digest, seconds int64) {
	p.room('E', endLen)
	p.block = binary.LittleEndian.AppendUint64(append(p.block, of[:]...), uint64(seconds))
}

func (p *packer) long(of digest, sum long) {
	p.room('L', longLen)
	p.block = append(append(p.block, of[:]...), sum[:]...)
}

// close writes the current block and the last block.
func (p *packer) close() error {
	p.room('Z', 1)
	p.block = append(p.block, '\n')
	p.flush()
	return p.failed
}
