package simplestreams

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	client "github.com/lxc/incus/v6/shared/simplestreams"

	"example.com/publish/stage/catalog"
)

// bucket is what a store has of a tree: content at its path, and what Place says. The
// pointer has the member that the store's protocol adds.
func bucket(t *testing.T, tree fstest.MapFS) (fstest.MapFS, *catalog.Placement) {
	t.Helper()
	p, err := Format{}.Place(t.Context(), catalog.Files(tree), nil)
	if err != nil {
		t.Fatal(err)
	}
	out := fstest.MapFS{}
	for _, o := range p.Objects {
		out[o.Key] = file(string(o.Data))
		if o.Type != "application/json" || string(o.Data) != string(tree[o.Path].Data) {
			t.Errorf("%s: %s", o.Path, o.Type)
		}
	}
	added := strings.TrimSuffix(string(p.Pointer), "}") +
		`,"publish":{"version":1,"index":{"x":{"path":"y"}},"products":["z"],"history":{"time":"2030-01-01T00:00:00Z"}}}`
	out[IndexPath] = file(added)
	return out, p
}

// The Incus client sees the same images in the store as in the tree.
func TestPlace(t *testing.T) {
	tree := treeOf(t, wild())
	tree[IndexPath] = file(strings.Replace(string(tree[IndexPath].Data), "{", `{"mine":[1],`, 1))
	store, p := bucket(t, tree)
	if got, want := clientLines(t, store), clientLines(t, tree); !slices.Equal(got, want) || len(got) == 0 {
		t.Errorf("%v\nwant\n%v", got, want)
	}
	if len(p.Objects) != 1 || !strings.HasPrefix(p.Objects[0].Key, "streams/v1/images-") ||
		!strings.Contains(string(p.Pointer), `"mine":[1]`) || len(p.Findings) > 0 {
		t.Errorf("%+v", p)
	}
	// Over HTTP, with its own requests.
	server := httptest.NewServer(http.FileServerFS(store))
	defer server.Close()
	images, err := client.NewClient(server.URL, *server.Client(), "test").ListImages()
	if err != nil || len(images) != len(clientLines(t, tree)) {
		t.Errorf("%d images, %v", len(images), err)
	}
}

// Another catalog has another key, and the same one has the same.
func TestPlaceFollowsBytes(t *testing.T) {
	one, _ := bucket(t, shelf("a: 1=one"))
	again, _ := bucket(t, shelf("a: 1=one"))
	two, p := bucket(t, shelf("a: 1=one 2=two"))
	if fmt.Sprint(keysOf(one)) != fmt.Sprint(keysOf(again)) || fmt.Sprint(keysOf(one)) == fmt.Sprint(keysOf(two)) {
		t.Errorf("%v %v %v", keysOf(one), keysOf(again), keysOf(two))
	}
	// A tree that was taken from a store does not get a longer name each time.
	third := fstest.MapFS{IndexPath: file(string(p.Pointer)), p.Objects[0].Key: file(string(p.Objects[0].Data))}
	if _, q := bucket(t, third); q.Objects[0].Key != p.Objects[0].Key {
		t.Error(q.Objects[0].Key)
	}
}

func keysOf(fs fstest.MapFS) (out []string) {
	for p := range fs {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// Catalogs may lie anywhere, have odd names, and be of other kinds; one may be missing.
func TestPlaceOddCatalogs(t *testing.T) {
	tree := shelf("a: 1=one")
	tree["else where/c é.json"] = file(`{"format":"products:1.0","products":{}}`)
	tree["text.json"] = file(`{"any":"thing"}`)
	tree[IndexPath] = file(`{"format":"index:1.0","index":{
		"images":{"datatype":"image-downloads","path":"streams/v1/../v1/images.json","products":["a"],"z":3},
		"twin":{"datatype":"image-downloads","path":"streams/v1/images.json","products":["a"]},
		"odd":{"datatype":"image-downloads","path":"else where/c é.json","products":[]},
		"text":{"datatype":"content-download","path":"text.json"},
		"gone":{"datatype":"content-download","path":"gone.json"}}}`)
	store, p := bucket(t, tree)
	if len(p.Objects) != 3 {
		t.Fatalf("%+v", p.Objects)
	}
	for _, o := range p.Objects {
		if !strings.HasPrefix(o.Key, "streams/v1/") || strings.ContainsAny(o.Key, " é") || store[o.Key] == nil {
			t.Error(o.Key)
		}
	}
	index := string(p.Pointer)
	for _, want := range []string{`"z":3`, `"gone.json"`} {
		if !strings.Contains(index, want) {
			t.Errorf("%s is not in %s", want, index)
		}
	}
	if strings.Count(index, "streams/v1/images-") != 2 {
		t.Error(index)
	}
}

func TestPlaceRefuses(t *testing.T) {
	tree := shelf("a: 1=one")
	tree[IndexPath] = file(strings.Replace(string(tree[IndexPath].Data), "{", `{"Publish":1,`, 1))
	p, err := Format{}.Place(t.Context(), catalog.Files(tree), nil)
	if err != nil || len(p.Findings) != 1 || p.Findings[0].Severity != catalog.Error {
		t.Errorf("%+v %v", p, err)
	}
	for _, bad := range []string{"", "{", "[]", `{"index":7}`} {
		if _, err := (Format{}).Place(t.Context(), catalog.Files(fstest.MapFS{IndexPath: file(bad)}), nil); err == nil {
			t.Errorf("%q is placed", bad)
		}
	}
	if _, err := (Format{}).Place(t.Context(), catalog.Files(fstest.MapFS{}), nil); !catalog.Missing(err) {
		t.Error(err)
	}
}
