package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/publish/site"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// A number does not say whose tree it is: two repositories can be given one
// production, and a tree can be moved by hand. So each tree says beside its
// number, in .publish-tree, which repository made it and which manifest lists
// it. Neither is a secret: an id is random, and a seal is a hash.
//
// A repository and its copy share the id, and the seals of what was made before
// the copy; no later seal.

const (
	// identityName is the file in each generation's tree that holds its number.
	identityName = ".publish-generation"
	// treeName is the file beside it that says whose tree it is. Trees of before
	// there was one have none, until their next switch.
	treeName = ".publish-tree"
)

// claim is what a tree says of itself.
type claim struct {
	number     int    // 0: it is none of publish's
	marked     bool   // it has a .publish-tree, and so the rest
	repository string // the id
	seal       string // of the manifest
}

var markText = regexp.MustCompile(`^repository ([0-9A-Za-z]{1,64})\nmanifest ([0-9a-f]{64})\n`)

// readClaim reads what the tree at dir says of itself. Both files are read from
// one directory, whatever is exchanged meanwhile. The zero claim is that of a
// directory that is missing, or that publish did not make.
func readClaim(dir string) (c claim, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer root.Close()
	read := func(name string, limit int64) ([]byte, error) {
		f, _, err := tree.Open(root, name) // follows no link, waits for no pipe
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return durable.ReadBounded(f, limit)
	}
	path := filepath.Join(dir, identityName)
	data, err := read(identityName, 32)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, &Error{Path: path, Fact: "cannot be read", Err: err}
	}
	if c.number, err = strconv.Atoi(strings.TrimSuffix(string(data), "\n")); err != nil || c.number < 1 {
		return claim{}, &Error{Path: path, Fact: "does not hold a generation number"}
	}
	data, err = read(treeName, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if m := markText.FindSubmatch(data); err == nil && m != nil {
		c.marked, c.repository, c.seal = true, string(m[1]), string(m[2])
		return c, nil
	}
	if err == nil {
		err = errors.New("does not say which repository made this tree")
	}
	return c, &Error{Path: filepath.Join(dir, treeName), Err: errors.Join(err, errForeign),
		Hint: "if this is a tree of this repository, remove that file: the next switch writes it again"}
}

// identity reads which generation the tree at dir says that it is; 0 when it is
// none of publish's.
func identity(dir string) (int, error) {
	c, err := readClaim(dir)
	if c.number != 0 {
		return c.number, nil
	}
	return 0, err
}

func writeIdentity(dir string, n int) error {
	return durable.WriteFile(filepath.Join(dir, identityName), fmt.Appendf(nil, "%d\n", n), 0o444)
}

func writeMark(dir, id, seal string) error {
	return durable.WriteFile(filepath.Join(dir, treeName), fmt.Appendf(nil, "repository %s\nmanifest %s\n", id, seal), 0o444)
}

// whose returns which generation of this repository the tree at dir is; 0 when
// it is none of publish's. The error wraps errForeign for the tree of another
// repository.
func (r *Repo) whose(dir string) (int, error) {
	for last := (claim{}); ; {
		c, err := readClaim(dir)
		if err != nil || c.number == 0 {
			return 0, err
		}
		if err = r.prove(dir, c); err == nil {
			return c.number, nil
		}
		if c == last {
			return 0, err
		}
		// A reader without a lock: what proves it may have gone since it was
		// read. Only what is found twice is true.
		last = c
	}
}

// prove returns nil if a tree with this claim is this repository's: if it bears
// the seal of the manifest that this repository has for the number, or had, by
// the manifest that was made anew or by the history. Of a tree without a mark
// the number has to do, and a look at its files.
func (r *Repo) prove(dir string, c claim) error {
	id, err := r.id()
	if err != nil {
		return err
	}
	if c.marked && id != "" && c.repository != id {
		return site.Another(dir, "holds generation %d of another repository", c.number)
	}
	if c.marked && r.sealOf(c.number) == c.seal {
		return nil
	}
	var m *Manifest // nil: there is none that can be read
	hasManifest := !gone(r.manifestPath(c.number))
	if hasManifest {
		if m, err = r.manifest(c.number); err == nil && c.marked && m.TreeSeal == c.seal {
			return nil
		}
	}
	data, err := durable.ReadFile(r.historyPath(), maxRecord)
	lost := errors.Is(err, fs.ErrNotExist)
	if err != nil && !lost {
		return err
	}
	e, known := journal.Parse(data).Made(c.number)
	switch {
	case c.marked && known && e.Seal == c.seal,
		lost && !hasManifest && (!c.marked || c.repository == id): // all is lost: only the id is left to tell
		return nil
	case c.marked:
		return &Error{Path: dir, Fact: fmt.Sprintf("holds generation %d as this repository did not make it", c.number), Err: errForeign,
			Hint: "a copy of this repository, or its original, switches it too: give each a production of its own in publish.yaml; if the other is gone, move the tree away and run publish recover"}
	case !hasManifest && !known, m != nil && !r.resembles(m, dir):
		return site.Another(dir, "holds a generation %d that this repository did not make", c.number)
	}
	return nil
}

// trees is what a site may ask of a repository.
type trees struct{ r *Repo }

func (t trees) Whose(dir string) (int, error) { return t.r.whose(dir) }

func (t trees) Says(dir string) int {
	c, err := readClaim(dir)
	if err != nil {
		return 0
	}
	return c.number
}

// claimed reports whether a tree says that it is another repository's. Unlike
// whose it asks for no proof: half a tree that is being deleted has none.
func (r *Repo) claimed(dir string) bool {
	c, err := readClaim(dir)
	id, idErr := r.id()
	return err == nil && idErr == nil && c.marked && id != "" && c.repository != id
}

// samples is how many files of a tree without a mark are looked at.
const samples = 64

// resembles reports whether at least half of what a manifest lists is in the
// tree at dir, with the right sizes, as far as a few files tell. Some may have
// been lost.
func (r *Repo) resembles(m *Manifest, dir string) bool {
	graves, err := r.graveyard()
	if err != nil {
		return true // damaged: recover says so
	}
	looked, found := 0, 0
	step := max(1, len(m.Own)/samples)
	for i := 0; i < len(m.Own); i += step {
		row := m.Own[i]
		if graves.Redacted(m.Generation, row) {
			continue
		}
		looked++
		if fi, err := os.Lstat(join(dir, row.Path)); err == nil && fi.Size() == row.Size {
			found++
		}
	}
	return 2*found >= looked
}

// sealOf returns the seal of the manifest of generation n, which is its last
// line; "" when there is none. It does not look whether the manifest fits it.
func (r *Repo) sealOf(n int) string { return generation.SealOf(r.manifestPath(n)) }
