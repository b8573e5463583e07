package publish

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// firstSeen records, for each orphan, when it was first seen and the file's state
// then. No time of the file itself shows that, because upload tools preserve
// modification times.
type firstSeen map[string]sighting

type sighting struct {
	since time.Time // whole seconds, UTC
	stat  tree.Stat
}

// since returns when the file was first seen in its present state; now if it was not
// seen before.
func (f firstSeen) since(e tree.Entry, now time.Time) time.Time {
	if s, ok := f[e.Path]; ok && unchanged(s.stat, e.Stat) {
		return s.since
	}
	return now.UTC().Truncate(time.Second)
}

// unchanged reports whether nobody has written to a file. The ctime shows a write even
// if the mtime was set back. But making or removing a hard link, as generations do,
// also changes the ctime.
func unchanged(was, is tree.Stat) bool {
	return was.Same(is, true) && (was.Ctime == is.Ctime || was.Links != is.Links)
}

// next returns the record for the files that are orphans now. All others are
// forgotten, so a file that is named again, changed or removed starts anew.
func (f firstSeen) next(strays []tree.Entry, now time.Time) firstSeen {
	out := make(firstSeen, len(strays))
	for _, e := range strays {
		out[e.Path] = sighting{f.since(e, now), e.Stat}
	}
	return out
}

func (f firstSeen) equal(g firstSeen) bool {
	if len(f) != len(g) {
		return false
	}
	for p, s := range f {
		t, ok := g[p]
		if !ok || !s.since.Equal(t.since) || !s.stat.Same(t.stat, false) || s.stat.Links != t.stat.Links {
			return false
		}
	}
	return true
}

// orphanFile is the path of the record of orphans. Writing it needs the staging lock.
type orphanFile string

func (r *Repo) orphans() orphanFile { return orphanFile(r.path(".publish", "orphans")) }

// read returns the record of orphans. It has a sealed line for each:
//
//	SINCE SIZE MTIME CTIME LINKS INODE PATH
//
// A damaged line is forgotten; its file waits for one more window. A line of a newer
// version is an error.
func (file orphanFile) read() (firstSeen, error) {
	out := firstSeen{}
	data, err := durable.ReadFile(string(file), maxRecord)
	if err != nil {
		return out, nil
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text, ok := durable.Unline(bytes.TrimSuffix(line, []byte{'\n'}))
		f := bytes.SplitN(text, []byte{' '}, 7)
		if !ok {
			continue
		}
		if len(f) != 7 {
			return nil, newer(fmt.Sprintf("%s:%d", file, n))
		}
		var v [6]int64
		for i := range v {
			if v[i], err = strconv.ParseInt(string(f[i]), 10, 64); err != nil {
				break
			}
		}
		if err != nil {
			return nil, newer(fmt.Sprintf("%s:%d", file, n))
		}
		out[string(f[6])] = sighting{time.Unix(v[0], 0).UTC(),
			tree.Stat{Size: v[1], Mtime: v[2], Ctime: v[3], Links: uint32(v[4]), Ino: uint64(v[5])}}
	}
	return out, nil
}

// write replaces the record.
func (file orphanFile) write(seen firstSeen) error {
	var b bytes.Buffer
	for p, s := range seen {
		b.Write(durable.Line(fmt.Appendf(nil, "%d %d %d %d %d %d %s", s.since.Unix(), s.stat.Size, s.stat.Mtime,
			s.stat.Ctime,
			int64(s.stat.Links), int64(s.stat.Ino), p)))
	}
	return durable.WriteFile(string(file), b.Bytes(), 0o644)
}

// correct sets the time of orphans that were first seen in the future to now.
func (file orphanFile) correct(now time.Time) (n int, err error) {
	seen, err := file.read()
	if err != nil {
		return 0, err
	}
	for p, s := range seen {
		if s.since.After(now) {
			n++
			seen[p] = sighting{now.Truncate(time.Second), s.stat}
		}
	}
	if n > 0 {
		err = file.write(seen)
	}
	return n, err
}
