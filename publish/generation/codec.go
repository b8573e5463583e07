package generation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// longestKey bounds what a manifest says of a unit, in bytes. A catalog with a
// longer name is read again instead.
const longestKey = 4096

const manifestMagic = "publish-manifest 1\n"

// Encode writes the manifest: a magic line, the head as one line of JSON, a
// line for each row, and a last line that seals all above it.
//
//	own ROLE SIZE SHA256 PATH
//	carried DROPPED ROLE SIZE SHA256 PATH
//	barred ROLE SIZE SHA256 PATH
//	unit DIGEST KEY
//	group DIGEST KEY
//	end SHA256
//
// It is written as it is made: the text of a large tree would be a good part of
// all the memory.
func (m *Manifest) Encode(w io.Writer) error {
	if slices.ContainsFunc(m.Units, func(u catalog.Unit) bool { return len(u.Key) > longestKey }) {
		m.Head.Units, m.Units = 0, nil
	}
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
	for _, r := range m.Barred {
		b = append(b, "barred "...)
		row(r)
	}
	for _, u := range m.Units {
		kind := "unit "
		if u.Group {
			kind = "group "
		}
		b = append(append(append(b, kind...), u.Digest...), ' ')
		b = append(strconv.AppendQuote(b, u.Key), '\n') // a name may hold anything
		if len(b) > 60<<10 {
			flush()
		}
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

// Why a manifest cannot be read.
var (
	ErrDamaged = errors.New("the manifest is damaged")
	// ErrNewer is what is wrong with one whose seal is right, and which this
	// version cannot read all the same: another version wrote it. It is not
	// damaged, so nobody repairs it.
	ErrNewer = errors.New("was written by a newer version of publish")
)

// magicLine is how a manifest of any version begins.
var magicLine = regexp.MustCompile(`^publish-manifest [1-9][0-9]*\n`)

// Decode reads a manifest. The error wraps ErrDamaged, or ErrNewer for one
// that another version wrote: its magic line says so; or the seal is right, so
// that what cannot be read is no damage. What it returns shares the memory of
// the text.
func Decode(text string) (*Manifest, error) {
	if !strings.HasPrefix(text, manifestMagic) && magicLine.MatchString(text) {
		return nil, ErrNewer // its seal may be of another kind
	}
	if len(text) < len(manifestMagic)+sealLen {
		return nil, ErrDamaged
	}
	body, seal := text[:len(text)-sealLen], text[len(text)-sealLen:]
	// The seal takes as long as the rest, and the rest does no harm without it.
	sealed := make(chan bool)
	go func() { sealed <- seal == "end "+sha256Of(body)+"\n" }()
	m, err := decode(body)
	if !<-sealed {
		return nil, ErrDamaged
	}
	if err != nil {
		return nil, err
	}
	m.Seal = seal[len("end ") : sealLen-1]
	return m, nil
}

// sha256Of hashes text, which is not copied at once.
func sha256Of(text string) string {
	sum := sha256.New()
	for buf := make([]byte, 32<<10); len(text) > 0; {
		n := copy(buf, text)
		sum.Write(buf[:n])
		text = text[n:]
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// decode reads all but the seal.
func decode(body string) (*Manifest, error) {
	rest, ok := strings.CutPrefix(body, manifestMagic)
	if !ok {
		return nil, ErrDamaged
	}
	head, rest, _ := strings.Cut(rest, "\n")
	m := &Manifest{}
	if err := json.Unmarshal([]byte(head), &m.Head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNewer, err)
	}
	if !m.Kind.known() {
		return nil, fmt.Errorf("%w: it is of kind %q", ErrNewer, m.Kind)
	}
	m.reserve(rest)
	for line := range strings.Lines(rest) {
		kind, line, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		ok := true
		switch kind {
		case "own":
			m.Own = append(m.Own, tree.Row{})
			ok = parseRow(line, &m.Own[len(m.Own)-1])
		case "carried":
			m.Carried = append(m.Carried, Carried{})
			c := &m.Carried[len(m.Carried)-1]
			dropped, line, _ := strings.Cut(line, " ")
			var err error
			c.Dropped, err = strconv.Atoi(dropped)
			ok = err == nil && parseRow(line, &c.Row)
		case "barred":
			m.Barred = append(m.Barred, tree.Row{})
			ok = parseRow(line, &m.Barred[len(m.Barred)-1])
		case "unit", "group":
			m.Units = append(m.Units, catalog.Unit{Group: kind == "group"})
			ok = parseUnit(line, &m.Units[len(m.Units)-1])
		default:
			ok = false
		}
		if !ok {
			return nil, ErrNewer
		}
	}
	return m, nil
}

// reserve makes room for the rows and units of a text, which come in this order,
// and a little more.
func (m *Manifest) reserve(text string) {
	own := 0
	for left := text; strings.HasPrefix(left, "own "); own++ {
		_, left, _ = strings.Cut(left, "\n")
		text = left
	}
	m.Own = make([]tree.Row, 0, own)
	m.Units = make([]catalog.Unit, 0, strings.Count(text, "\n"))
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

// known is a role as this program spells it: of one that it knows, no text has to
// be kept.
func known(role string) catalog.Role {
	for _, r := range [...]catalog.Role{catalog.Content, catalog.Mutable, catalog.Link} {
		if role == string(r) {
			return r
		}
	}
	return catalog.Role(role)
}

// notHex is 1 for what is no hexadecimal digit: of a hash nobody could foresee
// which way a comparison goes, and so a table is faster.
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

// SealOf returns the seal of the manifest at path, which is its last line; ""
// when there is none. It does not look whether the manifest fits it.
func SealOf(path string) string {
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
