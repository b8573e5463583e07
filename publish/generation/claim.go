package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lazyregexp"
	"example.com/publish/stage/tree"
)

// The number of a tree does not tell which repository owns it: two repositories
// can be configured with the same production, and a tree can be moved by hand. So
// each tree also has a file MarkName with the id of its repository and the seal
// of its manifest. Neither is a secret: an id is random, and a seal is a hash.
//
// A repository and its copy have the same id. Manifests from before the copy have
// the same seals in both; later ones do not.

// ErrForeign is wrapped by errors about a tree that another repository, or
// another program, made.
var ErrForeign = errors.New("production was not made by this repository")

// Claim is what the files in a tree say about the tree.
type Claim struct {
	Number     int    // of the generation; 0 if publish did not make the tree
	Marked     bool   // it has the file MarkName, so the fields below are set
	Repository string // the id
	Seal       string // of the manifest
}

var markText = lazyregexp.New(`^repository ([0-9A-Za-z]{1,64})\nmanifest ([0-9a-f]{64})\n`)

// ReadClaim reads the claim of the tree at dir. It reads both files through one
// open directory, so a switch at the same time does not mix two trees. The result
// is the zero Claim if the directory is missing, or publish did not make it.
func ReadClaim(dir string) (Claim, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Claim{}, nil
	}
	if err != nil {
		return Claim{}, err
	}
	defer root.Close()
	return claimIn(root, dir)
}

// claimIn is ReadClaim for an open directory; dir is its name in errors.
func claimIn(root *os.Root, dir string) (c Claim, err error) {
	read := func(name string, limit int64) ([]byte, error) {
		f, _, err := tree.Open(root, name) // follows no link, waits for no pipe
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return durable.ReadBounded(f, limit)
	}
	path := filepath.Join(dir, IdentityName)
	data, err := read(IdentityName, 32)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	const hint = "write the number of the generation there, if publish made this tree: publish verify then checks it"
	if err != nil {
		return c, &fault.Error{Path: path, Fact: "cannot be read", Err: err, Hint: hint}
	}
	if c.Number, err = strconv.Atoi(strings.TrimSuffix(string(data), "\n")); err != nil || c.Number < 1 {
		return Claim{}, &fault.Error{Path: path, Fact: "does not hold a generation number", Hint: hint}
	}
	data, err = read(MarkName, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if m := markText.FindSubmatch(data); err == nil && m != nil {
		c.Marked, c.Repository, c.Seal = true, string(m[1]), string(m[2])
		return c, nil
	}
	if err == nil {
		err = errors.New("does not say which repository made this tree")
	}
	return c, &fault.Error{Path: filepath.Join(dir, MarkName), Err: errors.Join(err, ErrForeign),
		Hint: "if this is a tree of this repository, remove that file: the next switch writes it again"}
}

// Identity reads the generation number in the tree at dir; 0 if publish did not
// make the tree.
func Identity(dir string) (int, error) {
	c, err := ReadClaim(dir)
	if c.Number != 0 {
		return c.Number, nil
	}
	return 0, err
}

// Around returns the first of the directories that is the tree of a generation;
// "" if none is.
func Around(dirs []string) string {
	for _, d := range dirs {
		if _, err := os.Lstat(filepath.Join(d, IdentityName)); err == nil {
			return d
		}
	}
	return ""
}

// writeIdentity writes the number of generation n into the draft at dir.
func writeIdentity(batch *durable.Batch, dir string, n int) error {
	batch.Add(dir)
	return batch.WriteFile(filepath.Join(dir, IdentityName), fmt.Appendf(nil, "%d\n", n), 0o444)
}

func writeMark(dir, id, seal string) error {
	return durable.WriteFile(filepath.Join(dir, MarkName), fmt.Appendf(nil, "repository %s\nmanifest %s\n", id, seal),
		0o444)
}

// Another returns the error for a tree that another repository made.
func Another(dir, format string, args ...any) error {
	return &fault.Error{Path: dir, Fact: fmt.Sprintf(format, args...), Err: ErrForeign,
		Hint: "give each repository a production of its own: production: in publish.yaml; " +
			"or, if the tree was moved there, move it back"}
}
