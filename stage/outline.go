package stage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"path"
	"slices"
	"strconv"
	"sync"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Outlined is staging as its indexes and the names of its files tell it, for a format
// whose content is called by its hash (see [catalog.Outliner]). To make one takes time for
// what is new, and for names: only what no index needs is looked at.
//
// It takes each file for what it is called. So it is enough to find what nothing needs,
// and to plan; who takes away what people have named looks at each file: see Checked.
type Outlined struct {
	*catalog.Outline
	There  []bool       // for each blob, whether a file has its name
	Strays []tree.Entry // the orphans; see Orphans

	stage     *Stage
	documents []seenDocument
	own       []tree.Row // rows of all that is no content, sorted
	id        func() string
}

// seenDocument is a document before it was read.
type seenDocument struct {
	path string
	stat tree.Stat
}

// Outline returns staging as names tell it; nil if it has to be examined. That is so for
// another format, and where anything in staging is unusual: links, half documents, content
// that is elsewhere. Unless look is set it keeps what the format has learned. It takes no
// lock.
func (s *Stage) Outline(ctx context.Context, look bool) (*Outlined, error) {
	return s.outline(ctx, look, true)
}

// outline is Outline. Without names it tells only what the indexes need: nothing is There,
// and nothing is a stray.
func (s *Stage) outline(ctx context.Context, look, names bool) (*Outlined, error) {
	f, ok := catalog.As[catalog.Outliner](s.Format)
	if !ok {
		return nil, nil
	}
	if sp, err := s.sparse(ctx); sp != nil || err != nil {
		return nil, err
	}
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	var entries []tree.Entry
	var found []tree.Names
	var walkErr error
	var walking sync.WaitGroup
	if names {
		walking.Go(func() { entries, found, walkErr = src.WalkNames(ctx, f.Addressed) })
	}
	facts := s.facts(look)
	read := &noting{memory: memory{tree.Contents(src.Root()), facts}, src: src}
	known, err := f.Outline(ctx, read)
	walking.Wait()
	if err = errors.Join(err, walkErr); err == nil {
		err = facts.Save()
	}
	if known == nil || err != nil || !names && len(known.Vital) > 0 {
		return nil, err
	}
	o := &Outlined{Outline: known, stage: s, documents: read.documents, There: make([]bool, known.Blobs.Len())}
	if names {
		if usual, err := o.compare(ctx, src, entries, found); !usual || err != nil {
			return nil, err
		}
	}
	o.id = sync.OnceValue(o.treeID)
	return o, nil
}

// noting notes the documents that are read, as they are before.
type noting struct {
	memory
	src       *tree.Source
	documents []seenDocument
}

func (n *noting) Document(path string) ([]byte, error) {
	st, err := n.src.Stat(path)
	if err == nil {
		n.documents = append(n.documents, seenDocument{path, st})
	}
	return n.memory.Document(path)
}

// compare finds out which blobs are there, and what no index needs. usual is false for a
// tree that has to be examined.
func (o *Outlined) compare(
	ctx context.Context, src *tree.Source, entries []tree.Entry, names []tree.Names,
) (usual bool, err error) {
	dirs := map[string]int32{}
	for i, dir := range o.Blobs.Dirs {
		dirs[dir] = int32(i)
	}
	has := func(dir string, sum *catalog.Sum) bool {
		in, ok := dirs[dir]
		if !ok {
			return false
		}
		at := o.Blobs.Find(in, sum)
		if at >= 0 {
			o.There[at] = true
		}
		return at >= 0
	}
	for _, n := range names {
		in, ok := dirs[n.Dir]
		for _, part := range n.Sums {
			for i := range part {
				if at := -1; ok {
					if at = o.Blobs.Find(in, &part[i]); at >= 0 {
						o.There[at] = true
						continue
					}
				}
				e := tree.Entry{Path: n.Dir + "/" + hex.EncodeToString(part[i][:])}
				if e.Stat, err = src.Stat(e.Path); tree.Gone(err) {
					continue // removed meanwhile
				} else if err != nil || !e.Stat.Mode.IsRegular() {
					return false, nil
				}
				entries = append(entries, e)
			}
		}
	}
	for _, f := range o.Forms() {
		o.own = append(o.own, tree.Row{Path: f.Path, Size: f.Size, SHA256: f.SHA256, Role: catalog.Mutable})
	}
	usual, err = o.sort(ctx, src, entries, has)
	if !usual || err != nil {
		return false, err
	}
	return !slices.ContainsFunc(o.Vital, func(blob int) bool { return !o.There[blob] }), nil
}

// maxOther bounds how much of files that are neither documents nor content is read.
const maxOther = 1 << 20 // bytes

// sort sorts what was looked at.
func (o *Outlined) sort(
	ctx context.Context, src *tree.Source, entries []tree.Entry, has func(dir string, sum *catalog.Sum) bool,
) (usual bool, err error) {
	in := tree.NewOpener(src.Root())
	defer in.Close()
	documents := tree.NewRows(o.own)
	left := int64(maxOther)
	for _, e := range entries {
		clean, _, ok := catalog.Clean(e.Path)
		if _, busy := catalog.Unfinished(e.Path); e.Kind != tree.File || busy || !ok || clean != e.Path {
			return false, nil
		}
		dir, base := path.Split(e.Path)
		if sum, ok := catalog.ParseSum(base); ok && has(path.Clean(dir), &sum) {
			continue
		}
		switch o.stage.Format.Class(e.Path) {
		case catalog.Index:
			if documents.Find(e.Path) < 0 {
				return false, nil
			}
		case catalog.ItemLike:
			o.Strays = append(o.Strays, e)
		case catalog.InProgress:
		default:
			if left -= e.Stat.Size; left < 0 {
				return false, nil
			}
			f, before, err := in.Open(e.Path)
			if err != nil {
				return false, nil
			}
			sum, err := tree.HashFile(ctx, f, before)
			_ = f.Close() // nothing was written to it
			if err != nil || !before.Same(e.Stat, true) {
				return false, ctx.Err()
			}
			o.own = append(o.own, tree.Row{Path: e.Path, Size: e.Stat.Size, SHA256: sum, Role: catalog.Mutable})
		}
	}
	tree.SortRows(o.own)
	slices.SortFunc(o.Strays, func(a, b tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
	return true, nil
}

// TreeID is the id of what a promote would publish if each file is what it is called. It
// takes as long as all the rest: another goroutine may begin it.
func (o *Outlined) TreeID() string { return o.id() }

// inOrder returns the blobs that are there, by path.
func (o *Outlined) inOrder() []int32 {
	type keyed struct {
		dir int32  // its place among the sorted ones
		at  int32  // of the blob
		key uint64 // the first digits
	}
	place := make([]int32, len(o.Blobs.Dirs))
	sorted := slices.Sorted(slices.Values(o.Blobs.Dirs))
	for i, dir := range o.Blobs.Dirs {
		at, _ := slices.BinarySearch(sorted, dir)
		place[i] = int32(at)
	}
	keys := make([]keyed, 0, o.Blobs.Len())
	for i, there := range o.There {
		if b := o.Blobs.At(i); there {
			keys = append(keys, keyed{place[b.Dir], int32(i), binary.BigEndian.Uint64(b.Sum[:])})
		}
	}
	slices.SortFunc(keys, func(a, b keyed) int {
		switch {
		case a.dir != b.dir:
			return cmp.Compare(a.dir, b.dir)
		case a.key != b.key:
			return cmp.Compare(a.key, b.key)
		}
		return bytes.Compare(o.Blobs.At(int(a.at)).Sum[:], o.Blobs.At(int(b.at)).Sum[:])
	})
	out := make([]int32, len(keys))
	for i, k := range keys {
		out[i] = k.at
	}
	return out
}

// treeID is tree.ID of the rows that a snapshot would have. No other path stands between
// those of the blobs of one directory.
func (o *Outlined) treeID() string {
	order, dirs := o.inOrder(), o.Blobs.Dirs
	h := sha256.New()
	out := make([]byte, 0, 1<<15)
	begin := func(path string) {
		if len(out) > 1<<14 {
			h.Write(out)
			out = out[:0]
		}
		out = append(out, path...)
	}
	rest := func(role catalog.Role, size int64) {
		out = append(append(append(out, 0), role...), 0)
		out = append(strconv.AppendInt(out, size, 10), 0)
	}
	own := o.own
	before := func(path string) {
		for len(own) > 0 && own[0].Path < path {
			begin(own[0].Path)
			rest(own[0].Role, own[0].Size)
			out = append(append(out, own[0].SHA256...), '\n')
			own = own[1:]
		}
	}
	for i, at := range order {
		b := o.Blobs.At(int(at))
		if i == 0 || o.Blobs.At(int(order[i-1])).Dir != b.Dir {
			before(dirs[b.Dir] + "/")
		}
		begin(dirs[b.Dir])
		out = append(out, '/')
		from := len(out)
		out = hex.AppendEncode(out, b.Sum[:])
		digits := len(out)
		rest(catalog.Content, b.Size)
		out = append(append(out, out[from:digits]...), '\n')
	}
	before("\xff")
	h.Write(out)
	return hex.EncodeToString(h.Sum(nil))
}

// Still reports whether the documents are those that were read. Whoever deletes what they
// do not need asks just before: other tools write to them without a lock.
func (o *Outlined) Still() (bool, error) {
	src, err := tree.OpenSource(o.stage.Dir)
	if err != nil {
		return false, err
	}
	defer src.Close()
	for _, d := range o.documents {
		if st, err := src.Stat(d.path); err != nil || !st.Same(d.stat, false) {
			return false, nil
		}
	}
	return true, nil
}
