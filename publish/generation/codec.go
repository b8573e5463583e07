package generation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lazyregexp"
	"example.com/publish/stage/tree"
)

// longestKey is the longest key of a unit in a manifest, in bytes. A manifest of
// a catalog with a longer key has no units, and the catalog is read again.
const longestKey = 4096

const manifestMagic = "publish-manifest 1\n"

// Encode writes the manifest: a magic line, the head as one line of JSON, a
// line for each row, and a last line that seals all above it.
//
//	own ROLE SIZE SHA256 PATH
//	carried DROPPED ROLE SIZE SHA256 PATH
//	held DROPPED UNTIL SIZE DIGEST "MEDIA TYPE" DOCUMENT
//	barred ROLE SIZE SHA256 PATH
//	unit DIGEST KEY
//	group DIGEST KEY
//	gone DIGEST KEY
//	end SHA256
//
// It writes in small blocks, because the whole text of a large tree would need
// much memory.
func (m *Manifest) Encode(w io.Writer) error {
	if slices.ContainsFunc(m.Units, func(u catalog.Unit) bool { return len(u.Key) > longestKey }) {
		m.Head.Units, m.Units = 0, nil
	}
	m.Gone = slices.DeleteFunc(m.Gone, func(u catalog.Unit) bool { return len(u.Key) > longestKey })
	head, err := json.Marshal(m.Head)
	if err != nil {
		return err
	}
	sum := sha256.New()
	b := make([]byte, 0, 64<<10)
	var failed error
	flush := func() {
		if failed == nil {
			sum.Write(b)
			_, failed = w.Write(b)
		}
		b = b[:0]
	}
	b = append(b, manifestMagic...)
	b = append(append(b, head...), '\n')
	row := func(r tree.Row) {
		b = append(append(b, r.Role...), ' ')
		b = append(strconv.AppendInt(b, r.Size, 10), ' ')
		b = append(append(b, r.SHA256...), ' ')
		b = append(append(b, r.Path...), '\n')
		if len(b) > 60<<10 {
			flush()
		}
	}
	for _, r := range m.Own {
		b = append(b, "own "...)
		row(r)
	}
	for _, r := range m.Carried {
		b = append(b, "carried "...)
		b = append(strconv.AppendInt(b, int64(r.Dropped), 10), ' ')
		row(r.Row)
	}
	for _, h := range m.Held {
		b = append(h.append(b), '\n')
		if len(b) > 60<<10 {
			flush()
		}
	}
	for _, r := range m.Barred {
		b = append(b, "barred "...)
		row(r)
	}
	unit := func(kind string, u catalog.Unit) {
		b = append(append(append(b, kind...), u.Digest...), ' ')
		b = append(strconv.AppendQuote(b, u.Key), '\n') // a name may hold anything
		if len(b) > 60<<10 {
			flush()
		}
	}
	for _, u := range m.Units {
		kind := "unit "
		if u.Group {
			kind = "group "
		}
		unit(kind, u)
	}
	for _, u := range m.Gone {
		unit("gone ", u)
	}
	flush()
	if failed == nil {
		m.Seal = hex.EncodeToString(sum.Sum(nil))
		_, failed = io.WriteString(w, "end "+m.Seal+"\n")
	}
	return failed
}

// sealLen is the length of the last line.
const sealLen = len("end \n") + 2*sha256.Size

// Errors of Decode.
var (
	ErrDamaged = errors.New("the manifest is damaged")
	// ErrNewer is the error for a manifest that another version wrote. It is not
	// damaged, so it must not be repaired.
	ErrNewer = errors.New("was written by a newer version of publish")
)

// magicLine matches the first line of a manifest of any version.
var magicLine = lazyregexp.New(`^publish-manifest [1-9][0-9]*\n`)

// append adds the line of a held content, without its end.
func (h *Held) append(b []byte) []byte {
	b = append(b, "held "...)
	for _, n := range [...]int64{int64(h.Dropped), h.Until.Unix(), h.Size} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	b = append(append(b, h.Digest.String()...), ' ')
	b = append(strconv.AppendQuote(b, h.MediaType), ' ')
	return append(b, h.Document...)
}

// parse reads what append wrote, behind the first word.
func (h *Held) parse(line string) bool {
	var numbers [3]int64
	for i := range numbers {
		text, rest, _ := strings.Cut(line, " ")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return false
		}
		numbers[i], line = n, rest
	}
	text, line, _ := strings.Cut(line, " ")
	digest, err := catalog.ParseDigest(text)
	if err != nil {
		return false
	}
	quoted, err := strconv.QuotedPrefix(line)
	if err != nil {
		return false
	}
	path, ok := strings.CutPrefix(line[len(quoted):], " ")
	clean, _, isClean := catalog.Clean(path)
	h.MediaType, err = strconv.Unquote(quoted)
	h.Dropped, h.Until, h.Size = int(numbers[0]), time.Unix(numbers[1], 0).UTC(), numbers[2]
	h.Digest, h.Document = digest, path
	return err == nil && ok && isClean && clean == path && h.Size >= 0
}

func parseUnit(line string, u *catalog.Unit) bool {
	digest, quoted, _ := strings.Cut(line, " ")
	key, err := strconv.Unquote(quoted)
	u.Key, u.Digest = key, digest
	return err == nil && digest != ""
}

func parseRow(line string, r *tree.Row) bool {
	role, line, _ := strings.Cut(line, " ")
	size, line, _ := strings.Cut(line, " ")
	sum, path, _ := strings.Cut(line, " ")
	var err error
	r.Size, err = strconv.ParseInt(size, 10, 64)
	r.Role, r.SHA256, r.Path = known(role), sum, path
	clean, _, ok := catalog.Clean(path)
	return err == nil && r.Size >= 0 && ok && clean == path && isSHA256(sum)
}

var roles = []catalog.Role{catalog.Content, catalog.Mutable, catalog.Link, catalog.Signature}

// known returns a role. For known roles it returns the constant, so that the row
// does not keep the text in memory.
func known(role string) catalog.Role {
	for _, r := range roles {
		if role == string(r) {
			return r
		}
	}
	return catalog.Role(strings.Clone(role))
}

// notHex is 1 for bytes that are not hexadecimal digits. A table is faster than
// comparisons, because the processor cannot predict their branches for a hash.
var notHex = func() (table [256]byte) {
	for c := range table {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			table[c] = 1
		}
	}
	return table
}()

func isSHA256(s string) bool {
	var bad byte
	for i := range len(s) {
		bad |= notHex[s[i]]
	}
	return bad == 0 && len(s) == 2*sha256.Size
}

// sealOf returns the seal in the last line of the manifest at path; "" if there
// is none. It does not verify the seal.
func sealOf(path string) string {
	f, err := durable.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(-int64(sealLen), io.SeekEnd); err != nil {
		return ""
	}
	line := make([]byte, sealLen)
	if _, err := io.ReadFull(f, line); err != nil {
		return ""
	}
	seal, ok := bytes.CutPrefix(line, []byte("end "))
	if !ok {
		return ""
	}
	return string(bytes.TrimSuffix(seal, []byte("\n")))
}
