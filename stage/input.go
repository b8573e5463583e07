package stage

import (
	"io"
	"iter"
	"os"
	"path/filepath"

	"example.com/publish/stage/catalog"
)

// Input returns the files, or the one directory, that a person named. With move,
// the files are moved instead of copied.
func (d *Delivery) Input(names []string, move bool) (catalog.Input, error) {
	in := catalog.Input{Files: names, List: list, Again: d.s.patiently}
	in.Open = func(name string) (catalog.File, error) {
		f, s, err := openSource(name)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		d.expected[name] = s.stat.Size
		d.mu.Unlock()
		return &inputFile{File: f, path: name, move: move}, nil
	}
	if len(names) == 0 {
		return in, nil
	}
	fi, err := os.Stat(names[0])
	if err != nil {
		return in, err
	}
	if fi.IsDir() {
		if len(names) > 1 {
			return in, usage("add one directory at a time, or name the files",
				"%s: is a directory, and there are more arguments", names[0])
		}
		in.Files, in.Dir = nil, names[0]
		in.Inside = func(path string) (catalog.File, error) {
			f, s, err := openInside(names[0], path)
			if err != nil {
				return nil, err
			}
			d.mu.Lock()
			d.expected[s.path] = s.stat.Size
			d.mu.Unlock()
			return &inputFile{File: f, path: s.path, move: move, inside: &s}, nil
		}
		return in, nil
	}
	seen := map[string]bool{}
	for _, p := range names {
		if seen[filepath.Clean(p)] {
			return in, usage("", "%s: is given twice", p)
		}
		seen[filepath.Clean(p)] = true
	}
	return in, nil
}

// inputFile is a file that a person named, for Put.
type inputFile struct {
	*os.File
	path   string
	move   bool
	also   []io.Writer
	inside *source // nil: its path is opened again
}

func (f *inputFile) Also(w io.Writer) { f.also = append(f.also, w) }

// list yields the names in a directory that a person named.
func list(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			name := e.Name()
			if e.IsDir() {
				name += "/"
			}
			if !yield(name, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}
