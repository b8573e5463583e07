package publish

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// firstSeen is since when each orphan has been one, and the state that it was
// seen in. It is stored because no time of the file tells that: tools that
// upload preserve modification times.
type firstSeen map[string]sighting

type sighting struct {
	since time.Time // whole seconds, UTC
	stat  tree.Stat
}

// since is when the file was first seen as it is now; now for one that was not.
func (f firstSeen) since(e tree.Entry, now time.Time) time.Time {
	if s, ok := f[e.Path]; ok && unchanged(s.stat, e.Stat) {
		return s.since
	}
	return now.UTC().Truncate(time.Second)
}

// unchanged reports whether nobody has written to a file. Its ctime tells that
// where its mtime was set back, unless hard links were made or removed, as
// generations do: they change it too.
func unchanged(was, is tree.Stat) bool {
	return was.Same(is, true) && (was.Ctime == is.Ctime || was.Links != is.Links)
}

// next is what is to be remembered of the files that are orphans now: all
// others are forgotten, so that a file that is named again, changed or gone
// starts anew.
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

// orphanFile is the path of the file that keeps what is known of orphans. Whoever
// writes it holds the staging lock.
type orphanFile string

func (r *Repo) orphans() orphanFile { return orphanFile(r.path(".publish", "orphans")) }

// read returns what is known of orphans, a sealed line for each:
//
//	SINCE SIZE MTIME CTIME LINKS INODE PATH
//
// What is damaged is forgotten: its file waits for one more window. What a newer
// version wrote is an error.
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
			tree.Stat{Size: v[1], Mtime: v[2], Ctime: v[3], Links: uint64(v[4]), Ino: uint64(v[5])}}
	}
	return out, nil
}

// write replaces what is known.
func (file orphanFile) write(seen firstSeen) error {
	var b bytes.Buffer
	for p, s := range seen {
		b.Write(durable.Line(fmt.Appendf(nil, "%d %d %d %d %d %d %s", s.since.Unix(), s.stat.Size, s.stat.Mtime,
			s.stat.Ctime,
			int64(s.stat.Links), int64(s.stat.Ino), p)))
	}
	return durable.WriteFile(string(file), b.Bytes(), 0o644)
}

// correct gives the orphans that were first seen at a time that has not come the
// time now.
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
