package simplestreams

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/catalog"
)

// given is an Input of files in memory.
func given(all fstest.MapFS, names ...string) catalog.Input {
	in := catalog.Input{Files: names, Open: func(name string) (catalog.File, error) {
		f, ok := all[name]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return &memory{Reader: bytes.NewReader(f.Data), data: f.Data}, nil
	}}
	if len(names) == 0 {
		in.Dir = "d"
	}
	in.List = func(dir string) iter.Seq2[string, error] { return catalog.Files(all).List(dir) }
	return in
}

type memory struct {
	*bytes.Reader
	data []byte
	also []io.Writer
}

func (m *memory) Close() error     { return nil }
func (m *memory) Also(w io.Writer) { m.also = append(m.also, w) }

// pile is a Sink in memory.
type pile struct {
	mu    sync.Mutex
	parts map[string][]byte
}

func (p *pile) Put(_ context.Context, path string, r io.Reader, _ ...catalog.Digest) (catalog.Digest, int64, error) {
	m := r.(*memory)
	for _, w := range m.also {
		_, _ = w.Write(m.data)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts[path] = m.data
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: hashOf(string(m.data))}, int64(len(m.data)), nil
}

func (p *pile) Open(path string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(p.parts[path])), nil
}

func TestBring(t *testing.T) {
	meta := string(tarball(t, "metadata.yaml",
		"architecture: x86_64\ncreation_date: 1767225600\nproperties: {os: debian, release: sid}\n"))
	all := fstest.MapFS{"d/incus.tar.xz": file(meta), "d/rootfs.squashfs": file("hsqs root"),
		"d/disk.qcow2": file("QFI\xfb disk"), "d/notes": file("x")}
	const product, version = "debian:sid:default:x86_64", "20260101_00:00"
	paths := map[string]string{
		"metadata": ContentPath(metaIncus, hashOf(meta)),
		"root0":    ContentPath(rootSquashfs, hashOf("hsqs root")),
		"root1":    ContentPath(rootDiskKVM, hashOf("QFI\xfb disk")),
	}
	for name, in := range map[string]catalog.Input{
		"directory": given(all), "files": given(all, "d/incus.tar.xz", "d/rootfs.squashfs", "d/disk.qcow2"),
	} {
		sink := &pile{parts: map[string][]byte{}}
		edit, err := Format{}.Bring(context.Background(), in, sink, catalog.Addition{Aliases: []string{"sid"}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := edit(context.Background(), catalog.Files(fstest.MapFS{}))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := &catalog.Change{Places: paths,
			Combined: []catalog.Combined{
				{First: paths["metadata"], Second: paths["root0"], SHA256: hashOf(meta + "hsqs root")},
				{First: paths["metadata"], Second: paths["root1"], SHA256: hashOf(meta + "QFI\xfb disk")},
			},
			Images: []catalog.Image{
				{Product: product, Version: version, Type: container, Fingerprint: hashOf(meta + "hsqs root")},
				{Product: product, Version: version, Type: virtualMachine, Fingerprint: hashOf(meta + "QFI\xfb disk")},
			}}
		docs := got.Documents
		got.Documents = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		tree := apply(fstest.MapFS{}, docs)
		if images := mustRead(t, tree).Images; len(images) != 2 || len(images[0].Aliases) != 2 || len(sink.parts) != 3 {
			t.Errorf("%s: %+v, parts %d", name, images, len(sink.parts))
		}
		// A tree that has it under other paths keeps these, and nothing else changes.
		moved := fstest.MapFS{}
		for p, f := range tree {
			moved[p] = file(strings.ReplaceAll(string(f.Data), paths["root0"], "elsewhere/root"))
		}
		again, err := edit(context.Background(), catalog.Files(moved))
		if err != nil || len(again.Documents) != 0 || again.Places["root0"] != "elsewhere/root" ||
			again.Combined[0].Second != "elsewhere/root" {
			t.Errorf("%s: %+v, %v", name, again, err)
		}
	}
}

func TestBringRefuses(t *testing.T) {
	meta := tarball(t, "metadata.yaml",
		"architecture: x86_64\ncreation_date: 1767225600\nproperties: {os: debian, release: sid}\n")
	nameless := tarball(t, "metadata.yaml", "architecture: x86_64\ncreation_date: 1767225600\n")
	all := fstest.MapFS{"m": {Data: meta}, "n": {Data: nameless}, "r": file("hsqs"), "s": file("hsqs more"),
		"x": file("text"), "d/notes": file("x"),
		"two/incus.tar.xz": {Data: meta}, "two/lxd.tar.xz": {Data: meta}, "roots/incus.tar": {Data: meta},
		"roots/rootfs.squashfs": file("hsqs"), "roots/root.squashfs": file("hsqs")}
	in := func(dir string) catalog.Input {
		in := given(all)
		in.Dir = dir
		return in
	}
	for name, c := range map[string]struct {
		in    catalog.Input
		opt   catalog.Addition
		usage bool
		text  string
	}{
		"nothing": {in(""), catalog.Addition{}, true, "no file to add"},
		"an archive": {catalog.Input{Entries: func(func(catalog.Entry, error) bool) {}}, catalog.Addition{}, true,
			"no file to add"},
		"no image": {in("d"), catalog.Addition{}, true, "d: is not an output directory of distrobuilder"},
		"two metadata": {in("two"), catalog.Addition{}, true,
			"two: has several files that could be the same part of an image: incus.tar.xz, lxd.tar.xz"},
		"two roots":     {in("roots"), catalog.Addition{}, true, "rootfs.squashfs, root.squashfs"},
		"alias":         {given(all, "m", "r"), catalog.Addition{Aliases: []string{"a,b"}}, true, `"a,b"`},
		"a kind twice":  {given(all, "m", "r", "s"), catalog.Addition{}, true, "r and s are both a squashfs"},
		"no root":       {given(all, "m", "x"), catalog.Addition{}, false, "x: not a root file"},
		"no metadata":   {given(all, "x", "r"), catalog.Addition{}, false, "x: the tarball is cut"},
		"no name":       {given(all, "n", "r"), catalog.Addition{}, false, "n: metadata.yaml lacks the property os or release"},
		"not there":     {given(all, "none", "r"), catalog.Addition{}, false, "none"},
		"control":       {given(all, "m", "r"), catalog.Addition{Name: "a\nb"}, false, "control character"},
		"a named image": {given(all, "n", "r"), catalog.Addition{Name: "debian:sid:default:amd64"}, false, ""},
	} {
		sink := &pile{parts: map[string][]byte{}}
		_, err := Format{}.Bring(context.Background(), c.in, sink, c.opt)
		switch {
		case c.text == "" && err == nil:
		case err == nil || !strings.Contains(err.Error(), c.text) ||
			errors.As(err, new(*catalog.UsageError)) != c.usage:
			t.Errorf("%s: %T %v", name, err, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (Format{}).Bring(ctx, given(all, "m", "r"), &pile{parts: map[string][]byte{}},
		catalog.Addition{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
