package pins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/durable"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	one   = "sha256:" + strings.Repeat("1", 64)
	two   = "sha256:" + strings.Repeat("2", 64)
	three = strings.Repeat("3", 64)
	four  = strings.Repeat("4", 64)
)

func image(name, digest string, platforms ...string) Entry {
	return Entry{Canonical: name, Requested: name, Digest: digest, Platforms: platforms}
}

// byTag puts a tag where its repository's last part is, so that two hosts can collide.
func byTag(e Entry) string {
	base, _ := e.Base()
	if e.Digest == "" || !strings.Contains(base, ":") {
		return ""
	}
	return base[strings.LastIndex(base, "/")+1:]
}

func newFile(t testing.TB) *File {
	t.Helper()
	return again(t.TempDir())
}

// again is the lock file of another process.
func again(dir string) *File {
	return Open(filepath.Join(dir, Name), filepath.Join(dir, "state", "pins.lock"), byTag, time.Now)
}

func (f *File) put(t testing.TB, e Entry, follow bool) {
	t.Helper()
	must(t, f.Put(context.Background(), e, follow))
}

func (f *File) text(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(f.path)
	must(t, err)
	return string(data)
}

func (f *File) find(t testing.TB, name string) Entry {
	t.Helper()
	s, err := f.Load()
	must(t, err)
	e, _ := s.Find(name)
	return e
}

func TestPut(t *testing.T) {
	f := newFile(t)
	if s, err := f.Load(); err != nil || len(s.All()) != 0 {
		t.Fatalf("a missing file has %v, %v", s, err)
	}
	f.put(t, image("b.example.com/app:v2", two), false)
	app := image("b.example.com/app:v1", one, "linux/arm64", "linux/amd64")
	app.Requested = " app: v1 #1"
	f.put(t, app, false)
	f.put(t, Entry{Canonical: "https://c.example.com#ubuntu/*", Requested: "c", Newest: 2,
		Filters:  []string{"arch=amd64"},
		Products: map[string]Versions{"ubuntu:24": {"20260101": {"root.tar.xz": three, "meta": four}}}}, false)
	want := head + `version: 1
images:
  - canonical: b.example.com/app:v1
    requested: " app: v1 #1"
    digest: ` + one + `
    platforms: [linux/amd64, linux/arm64]
  - canonical: b.example.com/app:v2
    requested: b.example.com/app:v2
    digest: ` + two + `
  - canonical: "https://c.example.com#ubuntu/*"
    requested: "c"
    newest: 2
    filters: ["arch=amd64"]
    products:
      ubuntu:24:
        "20260101":
          "meta": "` + four + `"
          root.tar.xz: "` + three + `"
`
	if got := f.text(t); got != want {
		t.Errorf("the file is\n%s\nnot\n%s", got, want)
	}
	if fi, err := os.Stat(f.path); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if got := again(filepath.Dir(f.path)).find(t, app.Canonical); !reflect.DeepEqual(got, app.normal()) {
		t.Errorf("read back: %+v", got)
	}

	// What is there already is not written, also not in another form of the same.
	must(t, os.WriteFile(f.path, []byte("# mine\n"+want), 0o644))
	f.put(t, image(app.Canonical, one, "linux/amd64"), false)
	if got := f.text(t); got != "# mine\n"+want {
		t.Errorf("it was written for nothing:\n%s", got)
	}
	// Platforms are united; none means all.
	f.put(t, image(app.Canonical, one, "linux/s390x"), false)
	if e := f.find(t, app.Canonical); strings.Join(e.Platforms, " ") != "linux/amd64 linux/arm64 linux/s390x" ||
		e.Requested != app.Requested {
		t.Errorf("united: %+v", e)
	}
	f.put(t, image(app.Canonical, one), false)
	f.put(t, image(app.Canonical, one, "linux/s390x"), false)
	if e := f.find(t, app.Canonical); e.Platforms != nil {
		t.Errorf("all: %+v", e)
	}
	// Another digest only where that is wanted; then the platforms are its own.
	if err := f.Put(context.Background(), image(app.Canonical, two), false); !errors.Is(err, ErrDrift) {
		t.Errorf("another digest: %v", err)
	}
	f.put(t, image(app.Canonical, two, "linux/amd64"), true)
	if e := f.find(t, app.Canonical); e.Digest != two || len(e.Platforms) != 1 {
		t.Errorf("followed: %+v", e)
	}
}

func TestPutVersions(t *testing.T) {
	f := newFile(t)
	product := func(files map[string]string, versions ...string) Entry {
		e := Entry{Canonical: "https://c.example.com#u/*", Requested: "c", Products: map[string]Versions{"u": {}}}
		for _, v := range versions {
			e.Products["u"][v] = files
		}
		return e
	}
	f.put(t, product(map[string]string{"a": three}, "1", "2"), false)
	f.put(t, product(map[string]string{"b": four}, "2", "3"), false)
	other := product(nil)
	other.Products = map[string]Versions{"v": {"1": {"a": three}}}
	f.put(t, other, false)
	want := map[string]Versions{"u": {"2": {"a": three, "b": four}, "3": {"b": four}}, "v": {"1": {"a": three}}}
	if e := f.find(t, other.Canonical); !reflect.DeepEqual(e.Products, want) {
		t.Errorf("united: %v", e.Products)
	}
	moved := product(map[string]string{"a": four}, "2")
	if err := f.Put(context.Background(), moved, false); !errors.Is(err, ErrDrift) {
		t.Errorf("other bytes: %v", err)
	}
	f.put(t, moved, true)
	if v, ok := f.find(t, other.Canonical).Has("u", "2"); !ok || v.Files["a"] != four || len(v.Files) != 1 {
		t.Errorf("followed: %+v", v)
	}
	v, w := Version{Files: map[string]string{"a": three}}, Version{Files: map[string]string{"a": four}}
	if v.Digest() == w.Digest() {
		t.Error("other files have the same digest")
	}
}

// Two names must not lie at one place; a digest is no place, and a tag with a digest lies
// where the tag does.
func TestPlaces(t *testing.T) {
	f := newFile(t)
	f.put(t, image("a.example.com/app:v1", one), false)
	for name, ok := range map[string]bool{"b.example.com/app:v1": false, "b.example.com/app:v1@" + two: false,
		"b.example.com/app@" + two: true, "a.example.com/app:v1@" + two: true, "b.example.com/app:v2": true} {
		err := f.Put(context.Background(), image(name, two), false)
		if place := (*PlaceError)(nil); errors.As(err, &place) == ok || ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		} else if !ok && place.Other != "a.example.com/app:v1" {
			t.Errorf("%s: %+v", name, place)
		}
	}
}

// A file that is not as it should be locks nothing and is not written over.
func TestDamaged(t *testing.T) {
	entry := "  - canonical: a.example.com/app:v1\n    requested: app\n    digest: " + one + "\n"
	good := "version: 1\nimages:\n" + entry
	if _, err := decode([]byte(good), byTag); err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	products := func(text string) string { return with("digest: "+one, "products: {p: "+text+"}") }
	for text, want := range map[string]string{
		"":                             ":1: is empty",
		"# nothing\n":                  ":1: is empty",
		"[]":                           ":1: has no keys and values",
		"images: []\n":                 ":1: has no version",
		"version: 1\n":                 ":1: has no images",
		"version: 2\nimages: []\n":     ":1: version 2: this publish knows version 1",
		"version: 1\nimages: {}\n":     ":2: has no list",
		"version: 1\nimages: [1]\n":    ":2: has no keys",
		"version: 1\nimage: []\n":      ":2: unknown key image",
		"version: 1\nimages: &a []\n":  "an anchor",
		"version: !!int 1\nimages: []": "a tag",
		good + "---\n" + good:          ": a second document",
		good + "images: []\n":          "twice",
		good + "<<<<<<< HEAD\n":        ":6: ",
		good + entry:                   ":6: a.example.com/app:v1: is in line 3 already",
		good + strings.Replace(entry, "a.example", "b.example", 1): ":6: b.example.com/app:v1: " +
			"would lie in the tree where a.example.com/app:v1 is",
		with(one, "sha256:12"):                                      ":5: digest: sha256:12 is not 64",
		with(one, "md5:12"):                                         ":5: digest: md5:12 has the unknown",
		with("app:v1", "app:v1@"+two):                               ":5: digest: is not the one in the name",
		with(": app", `: "a\x1b[2J"`):                               ":4: requested: has a control character",
		with("requested: app", ""):                                  ":3: an image without the key requested",
		with("digest: "+one, ""):                                    ":3: canonical: has neither a digest nor products",
		good + "    platforms: [1, [2]]\n":                          ":6: has a list",
		good + "    platforms: ['']\n":                              ":6: platforms: is empty",
		good + "    digests: x\n":                                   ":6: unknown key digests",
		good + "    newest: x\n":                                    ":6: newest: x is no number",
		good + "    newest: 1\n":                                    ":5: digest: stands beside products",
		products("{v: {f: 1}}"):                                     ":5: products: p: v: f: the sha256 1 is not",
		products("{v: {}}"):                                         ":5: products: p: v: has no file",
		products("{}"):                                              ":5: products: p: has no version",
		products("{v: {" + strings.Repeat("f", maxKey+1) + ": 1}}"): ": ",
	} {
		f := newFile(t)
		must(t, os.WriteFile(f.path, []byte(text), 0o644))
		_, err := f.Load()
		bad := (*fault.Error)(nil)
		if !errors.As(err, &bad) || bad.Kind != fault.Usage || !strings.HasPrefix(err.Error(), f.path) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %q", text, err, want)
		}
		if err := f.Put(context.Background(), image("x/y:z", one), true); err == nil || f.text(t) != text {
			t.Errorf("%q was written over: %v", text, err)
		}
	}
	f := newFile(t)
	must(t, os.Symlink("/dev/null", f.path))
	if _, err := f.Load(); !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("a link: %v", err)
	}
	f = newFile(t)
	must(t, os.WriteFile(f.path, nil, 0o644))
	must(t, os.Truncate(f.path, maxFile+1))
	if _, err := f.Load(); !errors.Is(err, durable.ErrTooLong) {
		t.Errorf("a long file: %v", err)
	}
	if err := newFile(t).Put(context.Background(), image("x/y:z", "sha256:1"), true); err == nil {
		t.Error("what cannot be read is written")
	}
}

// A kill at any point of a write leaves what was there, or what is new, and nothing beside it.
func TestKilled(t *testing.T) {
	killed := errors.New("killed")
	for n := range 2 {
		f := newFile(t)
		f.put(t, image("a/app:v1", one), false)
		before := f.text(t)
		at := 0
		f.step = func(string) error {
			if at++; at > n {
				// As a kill within the write leaves it.
				left := filepath.Join(filepath.Dir(f.path), "."+Name+"123")
				return errors.Join(killed, os.WriteFile(left, []byte("x"), 0o600))
			}
			return nil
		}
		if err := f.Put(context.Background(), image("a/app:v2", two), false); !errors.Is(err, killed) {
			t.Fatalf("step %d: %v", n, err)
		}
		other := again(filepath.Dir(f.path))
		if got := other.text(t); n == 0 && got != before {
			t.Errorf("step %d left\n%s", n, got)
		}
		other.put(t, image("a/app:v2", two), false)
		other.put(t, image("a/app:v3", two), false)
		s, err := other.Load()
		must(t, err)
		if len(s.All()) != 3 {
			t.Errorf("step %d: %v", n, s.All())
		}
		left, err := os.ReadDir(filepath.Dir(f.path))
		must(t, err)
		if len(left) != 2 { // and the folder of the lock
			t.Errorf("step %d left %v", n, left)
		}
	}
}

// Many processes lose no entry.
func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 8 {
		f := again(dir)
		all.Go(func() {
			for k := range 5 {
				e := image(fmt.Sprintf("a/app:v%d.%d", i, k), one)
				if err := f.Put(context.Background(), e, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s, err := again(dir).Load()
	must(t, err)
	if len(s.All()) != 40 {
		t.Errorf("%d entries", len(s.All()))
	}
}

// FuzzDecode reads any bytes. What can be read is written in a form that reads as the same,
// and that is stable.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("version: 1\nimages:\n  - canonical: a/b:c\n    requested: '*x'\n    digest: " + one +
		"\n    platforms: [a, b]\n"))
	f.Add([]byte("version: 1\nimages:\n- {canonical: 'u#*', requested: \"\\u00e9\", newest: 1, filters: [a~b],\n" +
		"  products: {p: {v: {f: " + three + "}}}}\n"))
	f.Add([]byte("version: 1\nimages: []\n"))
	f.Add([]byte("version: 1\nimages:\n  - &a {canonical: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		s, err := decode(data, byTag)
		if err != nil {
			if line := (*lineError)(nil); !errors.As(err, &line) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		text := encode(s.entries)
		back, err := decode(text, byTag)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, text)
		}
		if !reflect.DeepEqual(back, s) {
			t.Fatalf("read as another one:\n%+v\n%+v", s, back)
		}
		if again := encode(back.entries); string(again) != string(text) {
			t.Fatalf("not stable:\n%s\n%s", text, again)
		}
	})
}

// FuzzEntry writes any texts that an entry may have.
func FuzzEntry(f *testing.F) {
	f.Add("a.example.com/b:c", "b: #c", "linux/amd64", "p:x", "2026", "root.tar")
	f.Add("true", "~", "null", "yes", "1_000", "0x1")
	f.Add("- a", "? b", "[c", "{d", "e: f", "\u2028")
	f.Fuzz(func(t *testing.T, canonical, requested, platform, product, version, file string) {
		for _, e := range []Entry{
			{Canonical: canonical, Requested: requested, Digest: one, Platforms: []string{platform}},
			{Canonical: canonical, Requested: requested, Filters: []string{platform},
				Products: map[string]Versions{product: {version: {file: three}}}},
		} {
			if _, fact := e.problem(); fact != "" {
				continue
			}
			back, err := decode(encode([]Entry{e}), func(Entry) string { return "" })
			if err != nil || !reflect.DeepEqual(back.entries, []Entry{e}) {
				t.Fatalf("%+v is read as %+v: %v", e, back, err)
			}
		}
	})
}
