package stage

import (
	"cmp"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Delivery brings files into staging. All commands that add files use it.
//
// First it receives content, without a lock, because that may take long. Put and
// Take bring the content into a private directory below staging, where it is
// complete, sealed and synced. Then Commit takes the staging lock for a short time.
// It refuses revoked content, and calls an Edit, which makes the new documents
// from those that staging has now. It moves the content into place, syncs the
// directories, writes the documents (see Apply), and updates the hash cache.
//
// If the process is killed, or Commit fails, before the documents are written, the
// indexes of staging are unchanged. At most there is a file that no index names;
// the next delivery of the same content replaces it. After Commit has returned
// without an error, everything survives a power cut. If the process is killed, the
// next holder of the staging lock removes the private directory.
//
// Put and Take may be called from several goroutines at once.
type Delivery struct {
	s     *Stage
	verb  string
	up    *upload
	cache *tree.Cache

	kept   bool   // Close keeps what was received: see Resume
	unlock func() // releases the lock of Resume; may be nil

	mu       sync.Mutex
	parts    map[string]*part  // by the path given to Put or Take
	made     int               // number of files in the directory
	first    map[string]string // the first file in the directory with a content, by its sha256
	known    *tree.Cache       // what staging has; nil until it is asked
	expected map[string]int64  // sizes of the files of an Input, by name
	progress func(int64)       // nil before the first byte
}

// part is a file in the private directory.
type part struct {
	row   tree.Row // its path is that of the source, for messages, or the path in the tree
	file  string   // path in the private directory; "" while it comes, and see open
	taken *taken   // nil if a Cloner made the file: see hold
	// open reads a content that counts as present: it has no file. See presentFile.
	open func() (io.ReadCloser, error)
}

// Receive opens a delivery for a verb, such as "stage add". Close it after use.
func (s *Stage) Receive(_ context.Context, verb string) (*Delivery, error) {
	up, err := s.upload()
	if err != nil {
		return nil, err
	}
	return s.delivery(verb, up), nil
}

func (s *Stage) delivery(verb string, up *upload) *Delivery {
	return &Delivery{s: s, verb: verb, up: up, cache: tree.AppendTo(s.Hashes),
		parts: map[string]*part{}, first: map[string]string{}, expected: map[string]int64{}}
}

// Close discards what was not committed. Files that were to be moved get their old
// mode back.
func (d *Delivery) Close() {
	for _, p := range d.parts {
		if p.taken != nil {
			p.taken.unseal()
		}
	}
	d.parts = nil
	switch {
	case d.up.dir == nil: // closed before
	case d.kept:
		d.keep()
	default:
		d.up.close()
		if d.unlock != nil {
			d.unlock()
		}
	}
}

// Put implements [catalog.Sink]. A file of Input is moved or copied: see Take.
func (d *Delivery) Put(ctx context.Context, path string, r io.Reader, want ...catalog.Digest) (
	catalog.Digest, int64, error) {
	if there, ok := r.(*presentFile); ok {
		return d.count(path, there, want)
	}
	f, ok := r.(*inputFile)
	if ok && f.inside != nil { // its path may lead elsewhere by now
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return catalog.Digest{}, 0, err
		}
		return d.receive(path, f.path, want, func(in intake, name string, beside []io.Writer) (*taken, error) {
			return in.takeOpen(ctx, f.File, *f.inside, name, f.move, append(beside, f.also...)...)
		})
	}
	if ok {
		return d.Take(ctx, path, f.path, f.move, f.also, want...)
	}
	return d.receive(path, path, want, func(in intake, name string, beside []io.Writer) (*taken, error) {
		return in.receive(ctx, r, name, beside...)
	})
}

// Take moves or copies the file called name, under a path as for Put. With move it
// moves the file if possible; the file keeps its old name until Commit has made it
// durable in staging. All its bytes are also written to the writers in also.
func (d *Delivery) Take(ctx context.Context, path, name string, move bool, also []io.Writer, want ...catalog.Digest) (
	catalog.Digest, int64, error) {
	return d.receive(path, name, want, func(in intake, file string, beside []io.Writer) (*taken, error) {
		return in.take(ctx, name, file, move, append(beside, also...)...)
	})
}

// receive makes one part. source is its name in messages.
func (d *Delivery) receive(path, source string, want []catalog.Digest,
	bring func(in intake, name string, beside []io.Writer) (*taken, error)) (catalog.Digest, int64, error) {
	fail := func(err error) (catalog.Digest, int64, error) { return catalog.Digest{}, 0, err }
	long := sha512.New()
	var beside []io.Writer
	for _, w := range want {
		if err := w.Check(); err != nil {
			return fail(fmt.Errorf("%s: %s: %w", source, w, err))
		}
		if w.Algorithm == catalog.SHA512 && len(beside) == 0 {
			beside = append(beside, long)
		}
	}
	d.mu.Lock()
	if d.parts[path] != nil {
		d.mu.Unlock()
		return fail(fmt.Errorf("%s: has come before", path))
	}
	d.parts[path] = &part{} // reserve the path
	file := d.next()
	d.mu.Unlock()
	in := intake{dir: d.up.dir, progress: d.done}
	if i := slices.IndexFunc(want, func(w catalog.Digest) bool { return w.Algorithm == catalog.SHA256 }); i >= 0 {
		in.twin = func(name string) bool { return d.twin(want[i].Hex, name) }
	}
	t, err := bring(in, file, beside)
	if err == nil {
		got := map[string]string{catalog.SHA256: t.sha256, catalog.SHA512: hex.EncodeToString(long.Sum(nil))}
		if i := slices.IndexFunc(want, func(w catalog.Digest) bool { return got[w.Algorithm] != w.Hex }); i >= 0 {
			err = fmt.Errorf("%s: %w, %s", source, catalog.ErrDigest, want[i])
			t.unseal()
			_ = d.up.dir.RemoveAll(t.name) // if this fails, Close removes it
		}
	}
	if err == nil && len(beside) > 0 {
		d.cache.PutSHA512(t.sha256, hex.EncodeToString(long.Sum(nil)))
	}
	if err == nil {
		err = d.settle(t)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		delete(d.parts, path)
		_ = d.up.dir.RemoveAll(file) // what is left of it
		return fail(err)
	}
	row := tree.Row{Path: source, Size: t.size, SHA256: t.sha256, Role: catalog.Content}
	d.parts[path] = &part{row: row, file: t.name, taken: t}
	if d.first[t.sha256] == "" {
		d.first[t.sha256] = t.name
	}
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: t.sha256}, t.size, nil
}

// next returns a new name in the private directory. The caller holds mu.
func (d *Delivery) next() string {
	d.made++
	return fmt.Sprint(d.made)
}

// Open implements [catalog.Sink].
func (d *Delivery) Open(path string) (io.ReadCloser, error) {
	d.mu.Lock()
	p := d.parts[path]
	d.mu.Unlock()
	if p != nil && p.open != nil {
		return p.open()
	}
	if p == nil || p.file == "" {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	f, _, err := tree.Open(d.up.dir.Root(), p.file)
	return f, err
}

// hold adds parts for files that a Cloner has made, and synced, in a folder of the
// private directory, at their paths in the tree.
func (d *Delivery) hold(folder string, rows ...tree.Row) {
	for _, r := range rows {
		d.parts[r.Path] = &part{row: r, file: path.Join(folder, r.Path)}
	}
}

// done reports n more bytes to Progress.
func (d *Delivery) done(n int64) {
	d.mu.Lock()
	if d.progress == nil {
		var total int64
		for _, size := range d.expected {
			total += size
		}
		d.progress = d.s.progress(strings.TrimPrefix(d.verb, "stage "), total)
	}
	told := d.progress
	d.mu.Unlock()
	told(n)
}

// Delivered is the result of Commit.
type Delivered struct {
	*catalog.Change
	Placed []tree.Row // files that are new in staging; without those that were there already
	Kept   []error    // reasons why source files were not removed after a move
}

// Commit moves what was received into staging. See Delivery.
func (d *Delivery) Commit(ctx context.Context, edit catalog.Edit) (*Delivered, error) {
	unlock, err := d.s.Exclusive(ctx, d.verb)
	if err != nil {
		return nil, err
	}
	out, err := d.commit(ctx, edit)
	unlock()
	if err != nil {
		return nil, err
	}
	d.kept = false
	out.Kept = d.release()
	slices.SortFunc(out.Kept, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return out, nil
}

// release removes the sources of what was moved. The errors say why some were not removed.
func (d *Delivery) release() (kept []error) {
	from, to := map[string]bool{}, map[string][]string{} // directories of sources; names by directory in staging
	for _, p := range d.parts {
		t := p.taken
		if t == nil || !t.move {
			continue
		}
		from[filepath.Dir(t.path)] = true
		if err := t.release(); err != nil {
			kept = append(kept, err)
		} else if t.moved {
			dir := filepath.Dir(t.place)
			to[dir] = append(to[dir], filepath.Base(t.place))
		}
		t.moved = false // Close has nothing to undo
	}
	for dir := range from {
		if err := durable.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			kept = append(kept, err)
		}
	}
	for path, names := range to {
		dir, err := d.s.openDir(path)
		if err != nil {
			continue
		}
		for _, name := range names {
			dir.Give(name) // possible only now, because Give refuses hard links
		}
		_ = dir.Close() // nothing was written to it
	}
	return kept
}

func (d *Delivery) commit(ctx context.Context, edit catalog.Edit) (*Delivered, error) {
	rows := make([]tree.Row, 0, len(d.parts))
	for _, p := range d.parts {
		rows = append(rows, p.row)
	}
	tree.SortRows(rows)
	if err := d.s.refuseRevoked(rows...); err != nil {
		return nil, err
	}
	src, done, err := d.s.Contents(ctx, false)
	if err != nil {
		return nil, err
	}
	var change *catalog.Change
	err = d.s.rewrite(ctx, func() (err error) {
		change, err = edit(ctx, src)
		return err
	})
	if err = errors.Join(err, done()); err == nil {
		err = d.present(ctx, change)
	}
	if err != nil {
		return nil, err
	}
	return d.land(change, d.s.Apply)
}

// land performs a change: content first, then the documents, with apply. The
// caller holds the staging lock.
func (d *Delivery) land(change *catalog.Change, apply func([]catalog.Document) error) (*Delivered, error) {
	placed, err := d.place(change.Places, change.Apart)
	if err != nil {
		return nil, err
	}
	if err := apply(change.Documents); err != nil {
		return nil, err
	}
	if err := d.fit(placed); err != nil {
		return nil, err
	}
	for _, p := range change.Combined {
		if first, second := d.at(change, p.First), d.at(change, p.Second); first != nil && second != nil {
			d.cache.PutPair(first.row.SHA256, second.row.SHA256, p.SHA256)
		}
	}
	if err := d.cache.Save(); err != nil {
		return nil, err
	}
	return &Delivered{Change: change, Placed: placed}, nil
}

// at returns the part that goes to a path in the tree; nil for none.
func (d *Delivery) at(change *catalog.Change, place string) *part {
	if change.Places == nil {
		return d.parts[place]
	}
	for from, to := range change.Places {
		if to == place {
			return d.parts[from]
		}
	}
	return nil
}

// place moves files into place, documents last, and makes their names durable. It
// skips a file if the same content is already there, and adds sealed files to the
// cache. If there is a file with other bytes, it is replaced. Files apart are not
// sealed.
func (d *Delivery) place(places map[string]string, apart map[string]bool) (placed []tree.Row, err error) {
	landings := d.landings(places, apart)
	d.share(landings)
	from := folder{open: d.up.dir.Below}
	to := folder{open: d.s.makeDir}
	defer from.close()
	defer to.close()
	var dirs []string
	for _, m := range landings {
		row, err := d.placeOne(m, &from, &to)
		if err != nil {
			return placed, err
		}
		placed = append(placed, row)
		if dir := to.path; len(dirs) == 0 || dirs[len(dirs)-1] != dir {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := durable.SyncDir(dir); err != nil {
			return placed, err
		}
	}
	return placed, nil
}

// landing is a part, and its path in staging.
type landing struct {
	part  *part
	to    string
	apart bool
	index int // 1 for a document, so that it is sorted after the content that it names
}

// landings returns, in their order, the parts that staging does not have yet.
func (d *Delivery) landings(places map[string]string, apart map[string]bool) (list []landing) {
	for from, p := range d.parts {
		to, ok := from, true
		if places != nil {
			to, ok = places[from]
		}
		m := landing{part: p, to: to, apart: apart[to]}
		if ok && p.file != "" && !d.there(m) {
			if d.s.Format.Class(to) == catalog.Index {
				m.index = 1
			}
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b landing) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.to, b.to), cmp.Compare(a.part.file, b.part.file))
	})
	return list
}

// there reports whether staging has a part with the same content in its place. What a
// Cloner made was compared before.
func (d *Delivery) there(m landing) bool {
	if m.part.taken == nil {
		return false
	}
	m.part.taken.place = join(d.s.Dir, m.to)
	fi, err := os.Lstat(m.part.taken.place)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	sum, _, ok := d.hashes().Lookup(m.to, tree.StatOf(fi))
	if !ok && m.apart && fi.Size() == m.part.row.Size { // small, and not sealed
		row, there, err := d.s.Row(context.Background(), m.to)
		sum, ok = row.SHA256, there && err == nil
	}
	return ok && sum == m.part.row.SHA256
}

func (d *Delivery) placeOne(m landing, fromDir, toDir *folder) (tree.Row, error) {
	row := m.part.row
	row.Path = m.to
	dir, err := toDir.at(filepath.Dir(join(d.s.Dir, m.to)))
	if err != nil {
		return row, err
	}
	if m.apart {
		if err := d.writable(m.part); err != nil {
			return row, err
		}
	}
	source, err := fromDir.at(path.Dir(m.part.file))
	if err != nil {
		return row, err
	}
	name := path.Base(m.to)
	if err := replace(source, path.Base(m.part.file), dir, name); err != nil {
		return row, err
	}
	if row.Role != catalog.Content {
		return row, nil
	}
	fi, err := dir.Lstat(name)
	if err != nil {
		return row, err
	}
	if st := tree.StatOf(fi); st.Mode.Perm()&0o222 == 0 {
		d.cache.PutSealed(m.to, st, row.SHA256)
	}
	return row, nil
}

// fit corrects the times of companions that came: see touch.
func (d *Delivery) fit(placed []tree.Row) error {
	came := map[string]bool{}
	for _, r := range placed {
		if r.Role == catalog.Mutable {
			came[r.Path] = true
		}
	}
	if len(came) == 0 {
		return nil
	}
	root, err := os.OpenRoot(d.s.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return d.s.touch(tree.FS(root), func(p string) bool { return came[p] })
}

// located adds the path to an error that does not have it.
func located(path string, err error) error {
	if err == nil || errors.As(err, new(*os.PathError)) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// below adds the directory of the tree to an error. The path in a DocumentError is
// relative to that directory.
func below(dir string, err error) error {
	if errors.As(err, new(*catalog.DocumentError)) {
		return fmt.Errorf("%s/%w", dir, err)
	}
	return located(dir, err)
}
