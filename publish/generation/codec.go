package generation

import (
	"bufio"
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
// that what cannot be read is no damage.
func Decode(data []byte) (*Manifest, error) {
	if !bytes.HasPrefix(data, []byte(manifestMagic)) && magicLine.Match(data) {
		return nil, ErrNewer // its seal may be of another kind
	}
	if len(data) < len(manifestMagic)+sealLen {
		return nil, ErrDamaged
	}
	body, seal := data[:len(data)-sealLen], string(data[len(data)-sealLen:])
	if seal != fmt.Sprintf("end %x\n", sha256.Sum256(body)) {
		return nil, ErrDamaged
	}
	rest, ok := bytes.CutPrefix(body, []byte(manifestMagic))
	if !ok {
		return nil, ErrDamaged
	}
	head, rest, _ := bytes.Cut(rest, []byte{'\n'})
	m := &Manifest{}
	if err := json.Unmarshal(head, &m.Head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNewer, err)
	}
	if !m.Kind.known() {
		return nil, fmt.Errorf("%w: it is of kind %q", ErrNewer, m.Kind)
	}
	m.Seal = seal[len("end ") : sealLen-1]
	m.Own = slices.Grow(m.Own, bytes.Count(rest, []byte("\nown "))+1)
	sc := bufio.NewScanner(bytes.NewReader(rest))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		kind, line, _ := strings.Cut(sc.Text(), " ")
		if kind == "unit" || kind == "group" {
			u, ok := parseUnit(line)
			if u.Group = kind == "group"; !ok {
				return nil, ErrNewer
			}
			m.Units = append(m.Units, u)
			continue
		}
		var dropped int
		if kind == "carried" {
			var d string
			var err error
			d, line, _ = strings.Cut(line, " ")
			if dropped, err = strconv.Atoi(d); err != nil {
				return nil, ErrNewer
			}
		}
		row, ok := parseRow(line)
		if !ok {
			return nil, ErrNewer
		}
		switch kind {
		case "own":
			m.Own = append(m.Own, row)
		case "carried":
			m.Carried = append(m.Carried, Carried{row, dropped})
		case "barred":
			m.Barred = append(m.Barred, row)
		default:
			return nil, ErrNewer
		}
	}
	return m, sc.Err()
}

func parseUnit(line string) (catalog.Unit, bool) {
	digest, quoted, _ := strings.Cut(line, " ")
	key, err := strconv.Unquote(quoted)
	return catalog.Unit{Key: key, Digest: digest}, err == nil && digest != ""
}

func parseRow(line string) (tree.Row, bool) {
	f := strings.SplitN(line, " ", 4)
	if len(f) != 4 {
		return tree.Row{}, false
	}
	size, err := strconv.ParseInt(f[1], 10, 64)
	sum, err2 := hex.DecodeString(f[2])
	p, _, ok := catalog.Clean(f[3])
	row := tree.Row{Role: catalog.Role(f[0]), Size: size, SHA256: f[2], Path: f[3]}
	return row, err == nil && err2 == nil && len(sum) == sha256.Size && size >= 0 && ok && p == f[3]
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
