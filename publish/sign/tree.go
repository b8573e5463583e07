package sign

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Codes of findings about signatures.
const (
	CodeMissing   = "missing"       // a file that has to be there
	CodeBad       = "bad-signature" // it is not what one of the keys signed
	CodeDiffers   = "differs"       // from what was signed
	CodeUnchecked = "unchecked"     // what it signs is too large to read
)

// CheckTree checks the signatures that are in a tree with these rows, which are sorted by path:
// documents that are signed inside (.sjson), and signatures of files that the tree has (.gpg,
// .asc, .minisig). Kinds for which the keyring has no key are passed over. Of the signed list of
// a generation the rows are compared as well. named are the paths of files that lie under other
// names, by those, for signatures beside these.
func CheckTree(src catalog.Source, rows []tree.Row, keys *Keyring, now time.Time,
	named map[string]string) []catalog.Finding {
	c := &check{Source: src, rows: tree.NewRows(rows), keys: keys, now: now}
	pgp, small := keys.Has()
	for _, r := range rows {
		switch {
		case r.Role == catalog.Link:
		case pgp && strings.HasSuffix(r.Path, ".sjson"):
			c.inline(r.Path)
		case pgp && (strings.HasSuffix(r.Path, ".gpg") || strings.HasSuffix(r.Path, ".asc")):
			of := r.Path[:len(r.Path)-4]
			c.detached(r.Path, cmp.Or(named[of], of), c.openpgp)
		case small && strings.HasSuffix(r.Path, minisignEnd):
			c.detached(r.Path, signedBy(r.Path), c.minisign)
		}
	}
	catalog.Sort(c.found)
	return c.found
}

const minisignEnd = ".minisig"

// signedBy is the path of what a minisign signature is of. The name of one by another key than the
// first has the key's id.
func signedBy(path string) string {
	base := strings.TrimSuffix(path, minisignEnd)
	const digits = "0123456789ABCDEF"
	if i := len(base) - 1 - len(digits); i > 0 && base[i] == '.' && strings.Trim(base[i+1:], digits) == "" {
		return base[:i]
	}
	return base
}

// check is one CheckTree.
type check struct {
	catalog.Source
	rows  tree.Rows
	keys  *Keyring
	now   time.Time
	found []catalog.Finding
}

func (c *check) find(s catalog.Severity, code, path, format string, args ...any) {
	c.found = append(c.found, catalog.Finding{Severity: s, Code: code, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *check) inline(path string) {
	data, err := c.Document(path)
	if err == nil {
		_, _, err = c.keys.Inline(data, c.now)
	}
	if err != nil {
		c.find(catalog.Error, CodeBad, path, "%v", fact(err))
	}
}

// detached checks a signature of a file that the tree has. One of nothing says nothing.
func (c *check) detached(path, of string, good func(of string, data, signature []byte) error) {
	r, ok := c.rows.Get(of)
	switch {
	case !ok || r.Role == catalog.Link:
		return
	case r.Size > catalog.MaxDocument:
		c.find(catalog.Warning, CodeUnchecked, path, "%s is too large to check a signature of it", of)
		return
	}
	signature, err := c.Document(path)
	if err == nil {
		var data []byte
		if data, err = c.Document(of); err == nil {
			err = good(of, data, signature)
		}
	}
	if err != nil {
		c.find(catalog.Error, CodeBad, path, "%v", fact(err))
	}
}

// fact is an error without the path, which the finding has.
func fact(err error) error {
	if bad := new(catalog.DocumentError); errors.As(err, &bad) {
		return errors.New(bad.Fact)
	}
	return err
}

func (c *check) openpgp(_ string, data, signature []byte) error {
	_, err := c.keys.Beside(data, signature, c.now)
	return err
}

func (c *check) minisign(of string, data, signature []byte) error {
	trusted, _, err := c.keys.Detached(data, signature)
	if err != nil || of != ListingName {
		return err
	}
	l, err := ParseListing(data)
	if err != nil {
		return errors.New(ListingName + " " + err.Error())
	}
	if l.Trusted() != trusted {
		return fmt.Errorf("is of %q, and %s is of generation %d", trusted, ListingName, l.Generation)
	}
	for _, want := range l.Rows {
		r, ok := c.rows.Get(want.Path)
		switch {
		case !ok:
			c.find(catalog.Error, CodeMissing, want.Path, "is signed, and is not there")
		case r.SHA256 != want.SHA256 || r.Size != want.Size || (r.Role == catalog.Link) != (want.Role == catalog.Link):
			c.find(catalog.Error, CodeDiffers, want.Path, "is not what was signed")
		}
	}
	return nil
}
