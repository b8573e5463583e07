package stage

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

func receive(t *testing.T, s *Stage) *Delivery {
	t.Helper()
	d, err := s.Receive(context.Background(), "stage test")
	must(t, err)
	t.Cleanup(d.Close)
	return d
}

// deliver stores data under a path.
func deliver(t *testing.T, d *Delivery, path, data string, want ...catalog.Digest) {
	t.Helper()
	got, size, err := d.Put(context.Background(), path, strings.NewReader(data), want...)
	must(t, err)
	if got != (catalog.Digest{Algorithm: catalog.SHA256, Hex: sum([]byte(data))}) || size != int64(len(data)) {
		t.Errorf("%s: %v, %d bytes", path, got, size)
	}
}

// makes is an Edit with a fixed answer.
func makes(c *catalog.Change) catalog.Edit {
	return func(context.Context, catalog.Source) (*catalog.Change, error) { return c, nil }
}

func TestDeliveryPut(t *testing.T) {
	s := newStage(t)
	d := receive(t, s)
	long := sha512.Sum512([]byte("one"))
	one := catalog.Digest{Algorithm: catalog.SHA512, Hex: fmt.Sprintf("%x", long)}
	deliver(t, d, "images/1", "one", one, catalog.Digest{Algorithm: catalog.SHA256, Hex: sum([]byte("one"))})
	deliver(t, d, "later", "two")
	deliver(t, d, "unwanted", "three")
	f, err := d.Open("later")
	must(t, err)
	if data, err := io.ReadAll(f); err != nil || string(data) != "two" {
		t.Errorf("%q, %v", data, err)
	}
	must(t, f.Close())
	if _, err := d.Open("images/2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	for name, c := range map[string]struct {
		path, data string
		want       catalog.Digest
		is         error
	}{
		"other bytes": {"images/2", "x", one, catalog.ErrDigest},
		"no digest":   {"images/2", "x", catalog.Digest{Algorithm: "md5", Hex: "0"}, nil},
		"twice":       {"images/1", "one", one, nil},
	} {
		_, _, err := d.Put(context.Background(), c.path, strings.NewReader(c.data), c.want)
		if err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cut := io.MultiReader(strings.NewReader("x"), &failing{})
	if _, _, err := d.Put(context.Background(), "cut", cut); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
	deliver(t, d, "cut", "whole") // after a failure the path is free

	got, err := d.Commit(context.Background(), makes(&catalog.Change{
		Places:    map[string]string{"images/1": "images/1", "later": "images/two", "cut": "images/cut"},
		Documents: []catalog.Document{{Path: "streams/v1/index.json", Data: []byte("{}")}},
		Combined:  []catalog.Combined{{First: "images/1", Second: "images/two", SHA256: sum([]byte("onetwo"))}},
	}))
	must(t, err)
	if len(got.Placed) != 3 || len(got.Kept) != 0 {
		t.Errorf("%+v", got)
	}
	for p, want := range map[string]string{"images/1": "one", "images/two": "two", "images/cut": "whole"} {
		fi := stat(t, s.Dir, p)
		if string(read(t, join(s.Dir, p))) != want || fi.Mode() != 0o444 {
			t.Errorf("%s: %v", p, fi.Mode())
		}
		got, sealed, ok := tree.OpenCache(s.Hashes).Lookup(p, tree.StatOf(fi))
		if !ok || !sealed || got != sum([]byte(want)) {
			t.Errorf("%s: the cache does not know it as sealed", p)
		}
	}
	both, ok := tree.OpenCache(s.Hashes).Pair(sum([]byte("one")), sum([]byte("two")))
	if !ok || both != sum([]byte("onetwo")) {
		t.Error("the cache does not know the combined hash")
	}
	if len(contents(t, s.Dir)) != 4 {
		t.Errorf("staging has %v", contents(t, s.Dir))
	}
	d.Close()
	d.Close() // nothing is left to do
	clean(t, s)
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestDeliveryAtOnce(t *testing.T) {
	s := newStage(t)
	d := receive(t, s)
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() { deliver(t, d, fmt.Sprint("images/", i), strings.Repeat(fmt.Sprint(i), 100_000)) })
	}
	wait.Wait()
	got, err := d.Commit(context.Background(), makes(&catalog.Change{}))
	must(t, err)
	if len(got.Placed) != 20 || len(contents(t, s.Dir)) != 20 {
		t.Errorf("%d of 20 files", len(contents(t, s.Dir)))
	}
	// The same content from two: the second finds it in its place.
	for i, want := range []int{1, 0} {
		d := receive(t, s)
		deliver(t, d, "images/same", "same")
		got, err := d.Commit(context.Background(), makes(&catalog.Change{}))
		must(t, err)
		if len(got.Placed) != want {
			t.Errorf("%d: placed %v", i, got.Placed)
		}
	}
}

// A delivery that fails, wherever, leaves the files that were to be moved as they
// were, and names in staging what was named.
func TestDeliveryFails(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		edit   catalog.Edit
		before func(s *Stage)
		placed bool
	}{
		"the edit":  {edit: func(context.Context, catalog.Source) (*catalog.Change, error) { return nil, boom }},
		"no folder": {edit: makes(&catalog.Change{Places: map[string]string{"part": "file/below"}})},
		"documents": {edit: makes(&catalog.Change{Places: map[string]string{"part": "images/x"},
			Documents: []catalog.Document{{Path: "file/index.json", Data: []byte("{}")}}}), placed: true},
		"revoked": {edit: makes(&catalog.Change{}), before: func(s *Stage) {
			s.Revoked = func() (func(string) (string, bool), error) {
				return func(sum string) (string, bool) { return "why", true }, nil
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			must(t, os.WriteFile(filepath.Join(s.Dir, "file"), []byte("f"), 0o644))
			if c.before != nil {
				c.before(s)
			}
			source := filepath.Join(files(t, map[string][]byte{"x": []byte("content")}), "x")
			d := receive(t, s)
			_, _, err := d.Take(context.Background(), "part", source, true, nil)
			must(t, err)
			if fi := stat(t, source); fi.Mode() != 0o444 {
				t.Errorf("it can be written to while it moves: %v", fi.Mode())
			}
			if _, err := d.Commit(context.Background(), c.edit); err == nil {
				t.Error("no error")
			}
			d.Close()
			if fi := stat(t, source); fi.Mode() != 0o644 || string(read(t, source)) != "content" {
				t.Errorf("the source: %v", fi.Mode())
			}
			if exists(filepath.Join(s.Dir, "images/x")) != c.placed || exists(filepath.Join(s.Dir, "streams")) {
				t.Errorf("staging has %v", contents(t, s.Dir))
			}
			clean(t, s)
		})
	}
}

// Somebody who may write to staging swaps the directory of uploads for a link, while an
// upload runs: nothing is made where it leads.
func TestDeliveryIsNotLedAway(t *testing.T) {
	for name, commit := range map[string]bool{"put": false, "commit": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			elsewhere := t.TempDir()
			d := receive(t, s)
			must(t, os.Mkdir(filepath.Join(elsewhere, d.up.name), 0o777)) // the attacker's
			swap := func() {
				incoming := filepath.Join(s.Dir, Incoming)
				must(t, os.Rename(incoming, filepath.Join(s.Dir, "moved")))
				must(t, os.Symlink(elsewhere, incoming))
			}
			if !commit {
				swap()
			}
			deliver(t, d, "images/x", "content")
			source := filepath.Join(files(t, map[string][]byte{"y": bytes.Repeat([]byte("y"), directAbove)}), "y")
			_, _, err := d.Take(context.Background(), "images/y", source, true, nil)
			must(t, err)
			if commit {
				swap()
			}
			_, err = d.Commit(context.Background(), makes(&catalog.Change{Documents: []catalog.Document{
				{Path: "streams/v1/images.json", Data: []byte("{}")}, {Path: "streams/v1/index.json",
					Data: []byte("{}")},
			}}))
			must(t, err)
			d.Close()
			if got := contents(t, elsewhere); len(got) > 0 {
				t.Errorf("made elsewhere: %v", got)
			}
			if string(read(t, filepath.Join(s.Dir, "images/x"))) != "content" || exists(source) {
				t.Errorf("staging has %v", contents(t, s.Dir))
			}
		})
	}
}

// Input is files that a person named, or one directory.
func TestDeliveryInput(t *testing.T) {
	s := newStage(t)
	d := receive(t, s)
	dir := files(t, map[string][]byte{"a": []byte("a"), "b": []byte("b")})
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	in, err := d.Input([]string{dir}, false)
	must(t, err)
	var names []string
	for name, err := range in.List(in.Dir) {
		must(t, err)
		names = append(names, name)
	}
	if got := strings.Join(names, " "); in.Dir != dir || len(in.Files) > 0 || got != "a b link sub/" {
		t.Errorf("%+v: %s", in, got)
	}
	f, err := in.Open(filepath.Join(dir, "link"))
	must(t, err)
	defer f.Close()
	var also bytes.Buffer
	f.Also(&also)
	_, _ = f.Read(make([]byte, 1))
	if _, size, err := d.Put(context.Background(), "x", f); err != nil || size != 1 || also.String() != "a" {
		t.Errorf("%d bytes, %q, %v", size, also.String(), err)
	}
	for _, bad := range [][]string{{dir, filepath.Join(dir, "a")}, {filepath.Join(dir, "a"), dir + "/./a"}} {
		if _, err := d.Input(bad, false); !errors.As(err, new(*UsageError)) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := d.Input([]string{filepath.Join(dir, "none")}, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := in.Open(filepath.Join(dir, "sub")); err == nil {
		t.Error("a directory was opened")
	}
}
