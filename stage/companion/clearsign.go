package companion

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	signedBegin    = "-----BEGIN PGP SIGNED MESSAGE-----"
	signatureBegin = "-----BEGIN PGP SIGNATURE-----"
	// maxHeaders bounds the headers of a clearsigned text. There is one: Hash.
	maxHeaders = 100
	// maxBlanks bounds the white space at the end of a line.
	maxBlanks = 64 << 10
)

// staleTwin compares the text of a clearsigned twin with the document. Whether
// the signature is good is for those who have the key. A twin with the same
// JSON in another layout is also right: see sameSaid.
func (c Companion) staleTwin(fsys fs.FS, docs Documents) (string, error) {
	doc, size, err := open(fsys, c.Of)
	if err != nil {
		return "", err
	}
	defer doc.Close()
	f, _, err := open(fsys, c.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// A dash at the start of a line is escaped with two bytes.
	in := &source{r: io.LimitReader(f, 3*size+1<<20)}
	text, err := newClearText(in)
	if err == nil {
		var same bool
		if same, err = equal(&trimmed{in: bufio.NewReader(doc)}, &trimmed{in: bufio.NewReader(text)}); err == nil &&
			!same {
			if same, err = c.sameSaid(fsys, docs, size); same || err != nil {
				return "", err
			}
			return "signs another text than " + c.Of + " has", nil
		}
	}
	switch {
	case in.err != nil:
		return "", in.err
	case err != nil:
		return err.Error(), nil
	}
	return "", nil
}

// maxRewritten bounds the documents, in bytes, that sameSaid holds in memory: an
// index has some hundred bytes for a product.
const maxRewritten = 8 << 20

// sameSaid reports whether the twin holds the document's JSON value in another
// layout, and with the names of twins in the place of those of their documents.
// That is how Simplestreams' own signing tool writes index.sjson: with sorted
// keys, and leading on to download.sjson where index.json has download.json.
func (c Companion) sameSaid(fsys fs.FS, docs Documents, size int64) (bool, error) {
	if size > maxRewritten {
		return false, nil
	}
	var values [2]any
	for i, p := range []string{c.Of, c.Path} {
		f, _, err := open(fsys, p)
		if err != nil {
			return false, err
		}
		in := &source{r: io.LimitReader(f, 4*size+1<<20)}
		var text io.Reader = in
		if i == 1 {
			if text, err = newClearText(in); err != nil {
				_ = f.Close()
				return false, in.err
			}
		}
		data, err := io.ReadAll(text)
		_ = f.Close()
		if in.err != nil {
			return false, in.err
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err != nil || d.Decode(&values[i]) != nil {
			return false, nil
		}
		if _, err := d.Token(); err != io.EOF {
			return false, nil
		}
	}
	twins := map[string]string{}
	for _, d := range docs.Paths {
		if twin := docs.twin(d); twin != "" {
			twins[d] = twin
		}
	}
	return sameValue(values[0], values[1], twins), nil
}

// sameValue compares JSON values, but for the names of documents that have twins.
func sameValue(a, b any, twins map[string]string) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !sameValue(v, w, twins) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, func(x, y any) bool { return sameValue(x, y, twins) })
	case string:
		b, ok := b.(string)
		return ok && (a == b || twins[path.Clean(a)] != "" && twins[path.Clean(a)] == path.Clean(b))
	}
	return a == b
}

// clearText reads the text of a clearsigned message (RFC 9580, section 7).
type clearText struct {
	in    *bufio.Reader
	begin bool   // at the beginning of a line
	rest  []byte // that is read, and not returned yet
	err   error
}

func newClearText(r io.Reader) (*clearText, error) {
	c := &clearText{in: bufio.NewReaderSize(r, 64<<10), begin: true}
	if line, err := c.in.ReadSlice('\n'); err != nil || strings.TrimRight(string(line), " \t\r\n") != signedBegin {
		return nil, errors.New("holds no clearsigned text")
	}
	for range maxHeaders {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			break
		}
		if len(bytes.TrimSpace(line)) == 0 {
			return c, nil
		}
	}
	return nil, errors.New("holds no clearsigned text")
}

func (c *clearText) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.next()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// next reads a line, or as much of it as there is room for.
func (c *clearText) next() {
	line, err := c.in.ReadSlice('\n')
	if c.begin {
		switch {
		case bytes.HasPrefix(line, []byte(signatureBegin)):
			c.err = io.EOF
			return
		case bytes.HasPrefix(line, []byte("- ")):
			line = line[2:]
		}
	}
	c.begin = err == nil
	c.rest = line
	if err == io.EOF {
		err = errors.New("holds a text without a signature")
	}
	if err != nil && err != bufio.ErrBufferFull {
		c.err = err
	}
}

// trimmed reads a text without the white space at the ends of its lines and of
// itself, which a clear signature does not sign.
type trimmed struct {
	in     *bufio.Reader
	blanks []byte // that may stand at an end
	rest   []byte
}

func (t *trimmed) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(t.rest) > 0 {
			k := copy(p[n:], t.rest)
			n, t.rest = n+k, t.rest[k:]
			continue
		}
		b, err := t.in.ReadByte()
		if err != nil {
			if n > 0 && err == io.EOF {
				return n, nil
			}
			return n, err
		}
		switch b {
		case ' ', '\t', '\r':
			t.blanks = append(t.blanks, b)
		case '\n':
			// Blanks before it go; it stays, unless nothing follows.
			i := len(t.blanks)
			for i > 0 && t.blanks[i-1] != '\n' {
				i--
			}
			t.blanks = append(t.blanks[:i], b)
		default:
			if len(t.blanks) == 0 {
				p[n] = b
				n++
				continue
			}
			t.rest = append(bytes.Clone(t.blanks), b)
			t.blanks = t.blanks[:0]
		}
		if len(t.blanks) > maxBlanks {
			return n, errors.New("holds too much white space to be compared")
		}
	}
	return n, nil
}
