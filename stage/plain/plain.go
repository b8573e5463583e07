// Package plain is the format of a tree that has no index: any directory.
//
// Its rules:
//
//   - Every regular file is published as it is, under its own name, and so is
//     a relative link that stays inside the tree.
//   - No file is content: any may be rewritten under its name. A promote that
//     replaces one says so as a warning, since no index tells a client that it
//     changed, and the new file wins. A file that disappears is carried for one
//     grace window, as in any tree.
//   - Files with a name that they have only while an upload writes them are
//     left out until they are renamed. To leave out a finished file would be
//     worse than to publish an unfinished one under a name that nobody asks
//     for, so only names that upload tools give are taken for such; .htaccess,
//     .well-known, .htaccess.backup and index.html~ are published.
package plain

import (
	"io/fs"
	"path"
	"regexp"
	"strings"

	"example.com/publish/stage/catalog"
)

// Format implements [catalog.Format] for trees without indexes.
type Format struct{}

// Name is "plain".
func (Format) Name() string { return "plain" }

// endings are what tools append to a name while they write the file: curl and
// Firefox (.part), wget2 and Safari-like loaders (.partial), WinSCP
// (.filepart), Chromium (.crdownload), and scripts (.tmp, .uploading).
var endings = []string{".part", ".partial", ".filepart", ".crdownload", ".tmp", ".uploading"}

// temporary are whole names that tools give to a file while they write it. A
// match in which accept is not nil counts when that says so.
var temporary = []struct {
	name   *regexp.Regexp
	accept func(random string) bool
}{
	// rsync: a dot, the name, and six random letters and digits.
	{regexp.MustCompile(`^\..+\.([A-Za-z0-9]{6})$`), mixed},
	// renameio, and so this program: a dot, the name, a random 64-bit number.
	{regexp.MustCompile(`^\..*?[^0-9]([0-9]{15,20})$`), nil},
	// ProFTPD's HiddenStores, and Pure-FTPd.
	{regexp.MustCompile(`^\.in\.(.+)\.$`), nil},
	{regexp.MustCompile(`^\.pureftpd-upload\.(.+)$`), nil},
	// An NFS client's name for a file that was removed while it was open.
	{regexp.MustCompile(`^\.nfs([0-9a-f]{24})$`), nil},
}

// mixed tells rsync's six random characters from a word or a number: 96 of a
// hundred have upper case beside something else, and ".htaccess.backup",
// ".env.README" or ".log.202601" do not.
func mixed(random string) bool {
	upper := 0
	for _, r := range random {
		if r >= 'A' && r <= 'Z' {
			upper++
		}
	}
	return upper > 0 && upper < len(random)
}

// Class is InProgress for the temporary names of uploads, and Whole for all
// others.
func (Format) Class(p string) catalog.Class {
	dir, base := path.Split(p)
	for part := range strings.SplitSeq(dir, "/") {
		// rsync --partial-dir and --delay-updates.
		if part == ".rsync-partial" || part == ".~tmp~" {
			return catalog.InProgress
		}
	}
	for _, ending := range endings {
		if len(base) > len(ending) && strings.HasSuffix(base, ending) {
			return catalog.InProgress
		}
	}
	for _, t := range temporary {
		if m := t.name.FindStringSubmatch(base); m != nil && (t.accept == nil || t.accept(m[1])) {
			return catalog.InProgress
		}
	}
	return catalog.Whole
}

// Read finds no index, so nothing in it.
func (Format) Read(fs.FS) (*catalog.Catalog, error) { return &catalog.Catalog{}, nil }

// Without has no document to write.
func (Format) Without(fs.FS, func(catalog.Image) bool) ([]catalog.Document, error) { return nil, nil }

// WithoutVersions has no document to write, either.
func (Format) WithoutVersions(fs.FS, func(product, version string) bool) ([]catalog.Document, error) {
	return nil, nil
}
