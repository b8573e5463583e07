package generation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Decode reads a manifest. The error wraps ErrDamaged, or ErrNewer if another
// version wrote the manifest: the magic line shows that, or a correct seal on a
// text that this version cannot read. The result shares no memory with text.
func Decode(text string) (*Manifest, error) {
	return decodeFrom(strings.NewReader(text), int64(len(text)))
}

// decodeFrom is Decode for a text of so many bytes. It returns an error of r as it is. It does
// not keep the text: what nobody needs of that of a large tree is as much as all the rest.
func decodeFrom(r io.Reader, size int64) (*Manifest, error) {
	first := make([]byte, 64)
	n, err := io.ReadFull(r, first)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if first = first[:n]; !bytes.HasPrefix(first, []byte(manifestMagic)) && magicLine.Match(first) {
		return nil, ErrNewer // a newer version may seal in another way, so the seal is not checked
	}
	body := size - int64(sealLen)
	if !bytes.HasPrefix(first, []byte(manifestMagic)) || body < int64(len(manifestMagic)) {
		return nil, ErrDamaged
	}
	sum := sha256.New()
	io.WriteString(sum, manifestMagic)
	r = io.MultiReader(bytes.NewReader(first[len(manifestMagic):]), r)
	m := &Manifest{Units: []catalog.Unit{}}
	d := decoder{m: m}
	body -= int64(len(manifestMagic))
	err = d.read(io.LimitReader(r, body), body, sum)
	var seal [sealLen]byte
	if err == nil {
		_, err = io.ReadFull(r, seal[:])
	}
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, ErrDamaged
	case err != nil:
		return nil, err
	case string(seal[:]) != "end "+hex.EncodeToString(sum.Sum(nil))+"\n":
		return nil, ErrDamaged
	case d.failed != nil:
		return nil, d.failed
	}
	m.Seal = string(seal[len("end ") : sealLen-1])
	return m, nil
}

// decoder reads what stands between the first line and the last one of a manifest.
type decoder struct {
	m      *Manifest
	head   bool // it was read
	own    [][]tree.Row
	texts  texts
	failed error // from the line that this version cannot read
}

// read reads all of r, which has so many bytes, and hashes it. Hashing takes as long as
// decoding, so another goroutine does that; decoding what is damaged does no harm.
func (d *decoder) read(r io.Reader, size int64, sum hash.Hash) error {
	const ahead = 2
	blocks, free := make(chan []byte, ahead), make(chan []byte, ahead+2)
	done := make(chan error, 1)
	go func() {
		defer close(blocks)
		for made := 0; ; {
			var b []byte
			if made < ahead+2 {
				made++
				b = make([]byte, min(size+1, 256<<10)) // one more, to meet the end
			} else {
				b = <-free
			}
			n, err := io.ReadFull(r, b[:cap(b)])
			sum.Write(b[:n])
			blocks <- b[:n]
			if err != nil {
				done <- err
				return
			}
		}
	}()
	var rest []byte // a line without its end
	for b := range blocks {
		text := b
		for {
			line, after, ok := bytes.Cut(text, []byte{'\n'})
			if !ok {
				rest = append(rest, text...)
				break
			}
			if text = after; len(rest) > 0 {
				line = append(rest, line...)
				rest = line[:0]
			}
			d.line(durable.Text(line))
		}
		free <- b
	}
	if len(rest) > 0 || !d.head {
		d.line(durable.Text(rest))
	}
	d.own = append(d.own, d.m.Own)
	d.m.Own = make([]tree.Row, 0, d.rows())
	for i, part := range d.own {
		d.m.Own = append(d.m.Own, part...)
		d.own[i] = nil
	}
	if err := <-done; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil // what lacks is missed when the seal is read
}

// rows returns how many own rows there are.
func (d *decoder) rows() (n int) {
	for _, part := range d.own {
		n += len(part)
	}
	return n
}

// line reads one line.
func (d *decoder) line(line string) {
	switch {
	case d.failed != nil:
	case !d.head:
		d.head = true
		if err := json.Unmarshal([]byte(line), &d.m.Head); err != nil {
			d.failed = fmt.Errorf("%w: %w", ErrNewer, err)
		} else if !d.m.Kind.known() {
			d.failed = fmt.Errorf("%w: it is of kind %q", ErrNewer, d.m.Kind)
		}
	case !d.m.add(line, &d.texts):
		d.failed = ErrNewer
	case len(d.m.Own) == ownInPart: // a list of all that grows would need twice its memory
		d.own, d.m.Own = append(d.own, d.m.Own), make([]tree.Row, 0, ownInPart)
	}
}

const ownInPart = 4096

// texts makes copies of small parts of a large text, many in one piece of memory. nil makes none.
type texts struct{ piece strings.Builder }

// add returns a copy of a text.
func (t *texts) add(s string) string {
	const size = 64 << 10
	if t == nil {
		return s
	}
	if t.piece.Cap()-t.piece.Len() < len(s) {
		t.piece = strings.Builder{}
		t.piece.Grow(max(size, len(s)))
	}
	at := t.piece.Len()
	t.piece.WriteString(s)
	return t.piece.String()[at:]
}

// row makes the texts of a row copies. Where contents have their digests as names, the path
// has the hash already.
func (t *texts) row(r *tree.Row) {
	sum := r.SHA256
	r.Path = t.add(r.Path)
	if strings.HasSuffix(r.Path, sum) {
		r.SHA256 = r.Path[len(r.Path)-len(sum):]
	} else {
		r.SHA256 = t.add(sum)
	}
}

// unit makes the texts of a unit copies.
func (t *texts) unit(u *catalog.Unit) { u.Key, u.Digest = t.add(u.Key), t.add(u.Digest) }

// add reads a line below the head. The manifest gets copies of its texts.
func (m *Manifest) add(line string, own *texts) bool {
	kind, line, _ := strings.Cut(line, " ")
	row := func(line string, r *tree.Row) bool {
		ok := parseRow(line, r)
		own.row(r)
		return ok
	}
	unit := func(line string, u *catalog.Unit) bool {
		ok := parseUnit(line, u)
		own.unit(u)
		return ok
	}
	switch kind {
	case "own":
		m.Own = append(m.Own, tree.Row{})
		return row(line, &m.Own[len(m.Own)-1])
	case "carried":
		m.Carried = append(m.Carried, Carried{})
		c := &m.Carried[len(m.Carried)-1]
		dropped, line, _ := strings.Cut(line, " ")
		var err error
		c.Dropped, err = strconv.Atoi(dropped)
		return err == nil && row(line, &c.Row)
	case "held":
		m.Held = append(m.Held, Held{})
		return m.Held[len(m.Held)-1].parse(strings.Clone(line))
	case "barred":
		m.Barred = append(m.Barred, tree.Row{})
		return row(line, &m.Barred[len(m.Barred)-1])
	case "unit", "group":
		m.Units = append(m.Units, catalog.Unit{Group: kind == "group"})
		return unit(line, &m.Units[len(m.Units)-1])
	case "gone":
		m.Gone = append(m.Gone, catalog.Unit{})
		return unit(line, &m.Gone[len(m.Gone)-1])
	}
	return false
}
