package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// strict reads a tree of layouts as the strictest registries do: they find a
// manifest only if an entry of index.json names it, by its tag or by its digest, and
// have its media type from there.
type strict struct{ dir string }

// descriptor is a descriptor.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

const tagAnnotation = "org.opencontainers.image.ref.name"

func (r strict) entries(repository string) ([]descriptor, error) {
	var version struct {
		ImageLayoutVersion string
	}
	if err := readJSON(filepath.Join(r.dir, repository, "oci-layout"), &version); err != nil {
		return nil, err
	}
	var index struct{ Manifests []descriptor }
	err := readJSON(filepath.Join(r.dir, repository, "index.json"), &index)
	return index.Manifests, err
}

func readJSON(path string, to any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}

// find returns the entry for a tag or a digest.
func (r strict) find(repository, reference string) (descriptor, error) {
	list, err := r.entries(repository)
	for _, e := range list {
		if e.Digest == reference || e.Annotations[tagAnnotation] == reference {
			return e, err
		}
	}
	return descriptor{}, errors.Join(err, fmt.Errorf("%s:%s: %w", repository, reference, fs.ErrNotExist))
}

func (r strict) blob(repository string, e descriptor) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, repository, "blobs", strings.Replace(e.Digest, ":", "/", 1)))
	if err == nil && (digestOf(data) != e.Digest || int64(len(data)) != e.Size) {
		err = fmt.Errorf("%s@%s: has other bytes", repository, e.Digest)
	}
	return data, err
}

// pull fetches what a client with one reference does: the manifest, its children,
// each by its digest, and their configs and layers. It returns the digests of the
// manifests.
func (r strict) pull(repository, reference string) ([]string, error) {
	e, err := r.find(repository, reference)
	if err != nil {
		return nil, err
	}
	data, err := r.blob(repository, e)
	if err != nil {
		return nil, err
	}
	var m struct {
		MediaType string
		Config    *descriptor
		Layers    []descriptor
		Manifests []descriptor
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	if m.MediaType != e.MediaType {
		return nil, fmt.Errorf("%s@%s: is %s, and its entry says %s", repository, e.Digest, m.MediaType, e.MediaType)
	}
	out := []string{e.Digest}
	for _, c := range m.Manifests {
		more, err := r.pull(repository, c.Digest)
		if err != nil {
			return nil, fmt.Errorf("a child of %s: %w", reference, err)
		}
		out = append(out, more...)
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, l := range m.Layers {
		if _, err := r.blob(repository, l); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// tags are the tags that a client can list.
func (r strict) tags(repository string) ([]string, error) {
	list, err := r.entries(repository)
	var out []string
	for _, e := range list {
		if t := e.Annotations[tagAnnotation]; t != "" {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out, err
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// learn TREE REPOSITORY TAG FILE pulls a tag, and writes the digests of the manifests
// into a file.
func learn(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: learn TREE REPOSITORY TAG FILE")
	}
	digests, err := strict{ts.MkAbs(args[0])}.pull(args[1], args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), []byte(strings.Join(digests, "\n")), 0o644))
}

// pull TREE REPOSITORY FILE pulls each digest that learn wrote. With a ! in front,
// none of them can be resolved.
func pull(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: pull TREE REPOSITORY FILE")
	}
	for _, digest := range strings.Fields(ts.ReadFile(args[2])) {
		r := strict{ts.MkAbs(args[0])}
		_, err := r.pull(args[1], digest)
		if neg {
			if _, err = r.find(args[1], digest); err == nil {
				ts.Fatalf("%s@%s: is still there", args[1], digest)
			}
			continue
		}
		ts.Check(err)
	}
}

// tags TREE REPOSITORY TAG... checks which tags a registry lists.
func tags(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: tags TREE REPOSITORY TAG...")
	}
	have, err := strict{ts.MkAbs(args[0])}.tags(args[1])
	ts.Check(err)
	if !slices.Equal(have, args[2:]) {
		ts.Fatalf("%s has the tags %v, not %v", args[1], have, args[2:])
	}
}

// apart STAGING TREE [copied] checks that the two share layers, and nothing else, and that
// all else can be written to in staging. With copied they share nothing.
func apart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: apart STAGING TREE [copied]")
	}
	staging, layers := ts.MkAbs(args[0]), 0
	ts.Check(filepath.WalkDir(staging, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mine, err := os.Stat(path)
		if err != nil {
			return err
		}
		other, err := os.Stat(filepath.Join(ts.MkAbs(args[1]), strings.TrimPrefix(path, staging)))
		if err != nil {
			return err
		}
		same, layer := os.SameFile(mine, other), !json.Valid(data)
		want := fs.FileMode(0o644)
		if layer {
			layers++
			want = 0o444
		}
		if same != (layer && len(args) == 2) || mine.Mode().Perm() != want || other.Mode().Perm() != 0o444 {
			return fmt.Errorf("%s: shared: %t, modes %s and %s", path, same, mine.Mode(), other.Mode())
		}
		return nil
	}))
	if layers == 0 {
		ts.Fatalf("there is no layer")
	}
}

// once DIR checks that each layer below DIR is one file for all its paths, that some
// layer has several, and that no document or config shares a file.
func once(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: once DIR")
	}
	dir, _ := filepath.EvalSymlinks(ts.MkAbs(args[0]))
	first, several := map[string]fs.FileInfo{}, false
	var others []fs.FileInfo
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		if json.Valid(data) {
			if slices.ContainsFunc(others, func(o fs.FileInfo) bool { return os.SameFile(o, fi) }) {
				return fmt.Errorf("%s: is shared, and is no layer", path)
			}
			others = append(others, fi)
			return nil
		}
		was, ok := first[string(data)]
		switch {
		case !ok:
			first[string(data)] = fi
		case !os.SameFile(was, fi):
			return fmt.Errorf("%s: is a second file with the same bytes", path)
		}
		several = several || ok
		return nil
	}))
	if !several {
		ts.Fatalf("no layer has two paths")
	}
}
