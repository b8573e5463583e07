// Package companion knows the files that lie beside a document and are worth
// nothing when the document changes: compressed copies, which web servers hand
// out in its place, signatures, clearsigned twins, and lists of checksums that
// name it.
//
// What a companion belongs to is decided by names alone: the document's name
// and a known ending. Companions have companions (SHA256SUMS.gpg). Everything
// that is read is untrusted: what is unpacked is bounded by the document's own
// size, and nothing is held in memory but lists of checksums.
package companion

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/unpack"
)

// Kind is what a companion is.
type Kind int

const (
	// Packed is a compressed copy.
	Packed Kind = iota
	// Clearsigned is the document as text within a signature.
	Clearsigned
	// Signature is a detached signature: only its key shows what it signs.
	Signature
	// List is a list of checksums. It may also name other files.
	List
)

// Companion is a file that is worth nothing without another one.
type Companion struct {
	Path string
	Of   string // the document, or the companion, that it belongs to; "" of a List for a whole folder
	Kind Kind
}

var (
	packedEndings    = []string{".gz", ".zst", ".xz", ".bz2", ".br"}
	signatureEndings = []string{".gpg", ".asc", ".sig", ".sign", ".pgp", ".minisig", ".p7s", ".sigstore"}
	sumsEndings      = []string{".sha256", ".sha512", ".sha384", ".sha1", ".md5", ".sha256sum", ".sha512sum",
		".sha384sum", ".sha1sum", ".md5sum"}
	// sumsNames are those of lists for a folder, in lower case.
	sumsNames = []string{
		"sha256sums", "sha512sums", "sha384sums", "sha1sums", "md5sums",
		"sha256sum", "sha512sum", "sha384sum", "sha1sum", "md5sum",
		"checksums", "checksum", "checksums.sha256", "checksums.sha512",
	}
)

// Documents says which files have companions.
type Documents struct {
	Paths []string // of the documents
	// Clearsigned is the name of a document's clearsigned twin, "" without
	// one; nil: none has one.
	Clearsigned func(document string) string
	// Item reports what an index names by its hash: no companion; nil: nothing.
	Item func(path string) bool
}

// Find returns the companions of documents, and theirs, sorted by path. Only
// regular files are companions.
func Find(fsys fs.FS, docs Documents) ([]Companion, error) {
	f := finder{fsys: fsys, docs: docs, names: map[string][]string{}, taken: map[string]bool{}}
	for _, d := range docs.Paths {
		f.taken[d] = true
	}
	for _, d := range docs.Paths {
		if twin := docs.twin(d); twin != "" && f.there(twin) {
			f.add(Companion{twin, d, Clearsigned})
		}
		f.of(d)
		for dir := path.Dir(d); ; dir = path.Dir(dir) {
			f.lists(dir)
			if dir == "." {
				break
			}
		}
	}
	for i := 0; i < len(f.found); i++ { // which grows
		f.of(f.found[i].Path)
	}
	slices.SortFunc(f.found, func(a, b Companion) int { return strings.Compare(a.Path, b.Path) })
	return f.found, f.err
}

// twin is the name of a document's clearsigned twin, "" without one.
func (docs Documents) twin(d string) string {
	if docs.Clearsigned == nil {
		return ""
	}
	return docs.Clearsigned(d)
}

// Of returns the document of which a path has the name of a companion, or of a
// companion's companion, whether or not it is there; "" for any other path.
// A list for a folder is not a companion in this sense.
func (docs Documents) Of(p string) (document string) {
	names := map[string]string{}
	for _, d := range docs.Paths {
		names[d] = d
		if twin := docs.twin(d); twin != "" {
			names[twin] = d
		}
	}
	if slices.Contains(docs.Paths, p) {
		return ""
	}
	for names[p] == "" {
		ending := path.Ext(p)
		if !slices.Contains(packedEndings, ending) && !slices.Contains(signatureEndings, ending) &&
			!slices.Contains(sumsEndings, ending) {
			return ""
		}
		p = strings.TrimSuffix(p, ending)
	}
	return names[p]
}

// finder is Find at work.
type finder struct {
	fsys  fs.FS
	docs  Documents
	names map[string][]string // of the regular files of a directory, sorted
	taken map[string]bool     // documents, and what was found
	found []Companion
	err   error
}

// list is the names of the regular files in a directory.
func (f *finder) list(dir string) []string {
	names, known := f.names[dir]
	if known {
		return names
	}
	entries, err := fs.ReadDir(f.fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && f.err == nil {
		if info, serr := fs.Stat(f.fsys, dir); serr == nil && info.IsDir() {
			f.err = err
		}
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	f.names[dir] = names
	return names
}

func (f *finder) there(p string) bool {
	_, ok := slices.BinarySearch(f.list(path.Dir(p)), path.Base(p))
	return ok
}

func (f *finder) add(c Companion) {
	if f.taken[c.Path] || catalog.Reserved(c.Path) || f.docs.Item != nil && f.docs.Item(c.Path) {
		return
	}
	f.taken[c.Path] = true
	f.found = append(f.found, c)
}

// of finds the files that are called as p is, with an ending.
func (f *finder) of(p string) {
	for _, kind := range []struct {
		endings []string
		kind    Kind
	}{{packedEndings, Packed}, {signatureEndings, Signature}, {sumsEndings, List}} {
		for _, ending := range kind.endings {
			if f.there(p + ending) {
				f.add(Companion{p + ending, p, kind.kind})
			}
		}
	}
}

// lists finds the lists of checksums for a folder.
func (f *finder) lists(dir string) {
	for _, name := range f.list(dir) {
		lower := strings.TrimSuffix(strings.ToLower(name), ".txt")
		if slices.Contains(sumsNames, lower) {
			f.add(Companion{path.Join(dir, name), "", List})
		}
	}
}

// Folder of a list is where the names in it start.
func (c Companion) folder() string { return path.Dir(c.Path) }

// open opens a regular file.
func open(fsys fs.FS, p string) (fs.File, int64, error) {
	info, err := fs.Lstat(fsys, p)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: p, Err: errors.New("is no regular file")}
	}
	if err != nil {
		return nil, 0, err
	}
	f, err := fsys.Open(p)
	if err != nil {
		return nil, 0, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: p, Err: errors.New("is no regular file")}
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Stale is a companion that does not belong to what it is beside.
type Stale struct {
	Companion
	Why string // for people, after the path
}

// Check compares every companion with what it is beside. Where the bytes
// show nothing (see Blind) it asks older, which reports whether the first path
// was written before the second; nil: not known. It skips files that cannot be
// read: the code that publishes them reports them.
func Check(fsys fs.FS, docs Documents, older func(p, of string) bool) ([]Stale, error) {
	found, err := Find(fsys, docs)
	if err != nil {
		return nil, err
	}
	about := map[string]bool{}
	for _, d := range docs.Paths {
		about[d] = true
	}
	for _, c := range found {
		about[c.Path] = true
	}
	var stale []Stale
	for _, c := range found {
		why, err := "", error(nil)
		switch {
		case c.Blind():
			if older != nil && older(c.Path, c.Of) {
				why = "is older than " + c.Of
			}
		case c.Kind == Packed:
			why, err = c.stalePacked(fsys)
		case c.Kind == Clearsigned:
			why, err = c.staleTwin(fsys, docs)
		case c.Kind == List:
			why, err = c.staleList(fsys, about)
		}
		if why != "" && err == nil {
			stale = append(stale, Stale{c, why})
		}
	}
	return stale, nil
}

// Blind reports whether only times show whether the companion is stale.
func (c Companion) Blind() bool {
	return c.Kind == Signature || c.Kind == Packed && strings.HasSuffix(c.Path, ".br")
}

func (c Companion) stalePacked(fsys fs.FS) (string, error) {
	if c.Blind() {
		return "", nil
	}
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
	// No packed copy is much larger than its document.
	in := &source{r: io.LimitReader(f, size+size/8+1<<20)}
	plain, done, err := unpack.Reader(in, kinds[path.Ext(c.Path)], maxWindow)
	if err == nil {
		defer done()
		var same bool
		if same, err = equal(doc, io.LimitReader(plain, size+1)); err == nil && !same {
			return "unpacks to other bytes than " + c.Of + " has", nil
		}
	}
	switch {
	case in.err != nil:
		return "", in.err
	case err != nil:
		return "cannot be unpacked: " + err.Error(), nil
	}
	return "", nil
}

// source remembers the error of a file, to distinguish it from an error of unpacking.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// equal compares two streams to the end of both.
func equal(a, b io.Reader) (bool, error) {
	var bufs [2][64 << 10]byte
	for {
		n, errA := io.ReadFull(a, bufs[0][:])
		m, errB := io.ReadFull(b, bufs[1][:])
		for _, err := range []error{errA, errB} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if string(bufs[0][:n]) != string(bufs[1][:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			return n == m, nil
		}
	}
}
