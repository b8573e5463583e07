package publish

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Manifest is the sealed list of what a generation holds. It is written before
// the switch and is the intent: recovery completes history from it, and there
// is no other journal. It is never changed; carried files whose window has
// ended, and files that were revoked since, are gone from the tree though their
// rows stay.
type Manifest struct {
	Head
	Own     []tree.Row // sorted by path
	Carried []Carried  // sorted by path
	Barred  []tree.Row // content that an operator's revert took away: promote refuses it
	// Units are what a diff counts, as the catalog told it, so that the next
	// switch need not read this catalog again; see counts.
	Units []catalog.Unit
}

// unitScheme is the way in which a catalog's units are made, for Head.Units.
// Raise it when a format digests them in another way.
const unitScheme = 1

// longestKey bounds what a manifest says of a unit, in bytes. A catalog with a
// longer name is read again instead.
const longestKey = 4096

// counts reports whether Units can be believed: not those of another version of
// this program, and not those of a manifest that has none.
func (m *Manifest) counts() bool { return m.Head.Units == unitScheme }

// Head is a manifest's first part.
type Head struct {
	Generation  int       `json:"generation"`
	From        int       `json:"from"`   // the generation before; 0 for none
	Origin      int       `json:"origin"` // whose content this is: its own number, or what it was reverted to
	TreeID      string    `json:"tree_id"`
	Kind        EventKind `json:"kind"` // adopt, promote, revert, auto-revert or revoke
	Who         string    `json:"who"`
	Message     string    `json:"message"`
	Time        time.Time `json:"time"` // when it was sealed, UTC
	Grace       int64     `json:"grace_seconds"`
	Format      string    `json:"format"`
	Added       []string  `json:"added"` // product/version
	Removed     []string  `json:"removed"`
	Changed     []string  `json:"changed"`
	BarredTrees []string  `json:"barred_trees"`      // tree ids that promote refuses
	Revoked     []Revoked `json:"revoked,omitempty"` // by this switch: it is their tombstones' intent
	Unnamed     []Named   `json:"unnamed,omitempty"` // likewise, versions that had no content
	Units       int       `json:"units,omitempty"`   // the unitScheme of the manifest's; 0 when it has none
	// TreeSeal is, in a manifest that was made anew, the seal that the tree bears.
	TreeSeal string `json:"tree_seal,omitempty"`
	// Seal is the hash in the last line, lower-case hex, of the manifest as it
	// was read or written last.
	Seal string `json:"-"`
}

// seal returns the seal that the generation's tree bears.
func (h *Head) seal() string { return cmp.Or(h.TreeSeal, h.Seal) }

// all yields every row, own and carried.
func (m *Manifest) all() iter.Seq[tree.Row] {
	return func(yield func(tree.Row) bool) {
		for _, row := range m.Own {
			if !yield(row) {
				return
			}
		}
		for _, c := range m.Carried {
			if !yield(c.Row) {
				return
			}
		}
	}
}

// Carried is a path that the tree no longer has, kept for clients that
// learned of it from an earlier generation.
type Carried struct {
	tree.Row
	Dropped int // the generation that no longer had it: its window starts at that switch
}

const manifestMagic = "publish-manifest 1\n"

// encode writes the manifest: a magic line, the head as one line of JSON, a
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
func (m *Manifest) encode(w io.Writer) error {
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

var errDamaged = errors.New("the manifest is damaged")

// magicLine is how a manifest of any version begins.
var magicLine = regexp.MustCompile(`^publish-manifest [1-9][0-9]*\n`)

// decodeManifest reads a manifest. The error is errDamaged, or errNewer for one
// that another version wrote: its magic line says so; or the seal is right, so
// that what cannot be read is no damage.
func decodeManifest(data []byte) (*Manifest, error) {
	if !bytes.HasPrefix(data, []byte(manifestMagic)) && magicLine.Match(data) {
		return nil, errNewer // its seal may be of another kind
	}
	if len(data) < len(manifestMagic)+sealLen {
		return nil, errDamaged
	}
	body, seal := data[:len(data)-sealLen], string(data[len(data)-sealLen:])
	if seal != fmt.Sprintf("end %x\n", sha256.Sum256(body)) {
		return nil, errDamaged
	}
	rest, ok := bytes.CutPrefix(body, []byte(manifestMagic))
	if !ok {
		return nil, errDamaged
	}
	head, rest, _ := bytes.Cut(rest, []byte{'\n'})
	m := &Manifest{}
	if err := json.Unmarshal(head, &m.Head); err != nil {
		return nil, fmt.Errorf("%w: %w", errNewer, err)
	}
	if !m.Kind.Switch() {
		return nil, fmt.Errorf("%w: it is of kind %q", errNewer, m.Kind)
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
				return nil, errNewer
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
				return nil, errNewer
			}
		}
		row, ok := parseRow(line)
		if !ok {
			return nil, errNewer
		}
		switch kind {
		case "own":
			m.Own = append(m.Own, row)
		case "carried":
			m.Carried = append(m.Carried, Carried{row, dropped})
		case "barred":
			m.Barred = append(m.Barred, row)
		default:
			return nil, errNewer
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

func (r *Repo) manifestPath(n int) string { return r.path(".publish", "manifests", number(n)) }

// manifest reads the manifest of generation n. The one that was read last is
// remembered: a verb reads production's before it has the lock, and again with
// it. Nobody changes what this returns.
func (r *Repo) manifest(n int) (*Manifest, error) {
	path := r.manifestPath(n)
	fi, err := os.Stat(path)
	if err == nil && r.read.m != nil && r.read.m.Generation == n && r.read.state == tree.StatOf(fi) {
		return r.read.m, nil
	}
	var data []byte
	if err == nil {
		data, err = durable.ReadFile(path, maxRecord)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(r.keptHint(), "there is no generation %d, or it is not kept any more", n)
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(data)
	if err == nil && m.Generation != n {
		err = fmt.Errorf("it is of generation %d", m.Generation)
	}
	if errors.Is(err, errNewer) {
		return nil, &Error{Path: path, Err: err, Hint: "use a newer publish; nothing was changed. If none was used here, move the file away and run publish recover"}
	}
	if err != nil {
		return nil, &Error{Path: path, Err: err, Hint: "run publish recover; if it is production's, it is made anew from what production serves"}
	}
	r.read.m, r.read.state = m, tree.StatOf(fi)
	return m, nil
}

func (r *Repo) writeManifest(m *Manifest) error {
	return durable.WriteWith(r.manifestPath(m.Generation), 0o644, m.encode)
}
