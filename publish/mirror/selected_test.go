package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/simplestreams"
	"example.com/publish/stage/simplestreams/upstream"
)

// shop is a simplestreams server, and a repository that mirrors it.
type shop struct {
	*place
	mu    sync.Mutex
	files map[string]string
	tree  map[string]map[string]map[string]any // items by product and version
	sent  map[string]int
	wrong func(w http.ResponseWriter, path string) bool // it has answered
	url   string
}

func newShop(t testing.TB, config string) *shop {
	t.Helper()
	s := &shop{files: map[string]string{}, tree: map[string]map[string]map[string]any{}, sent: map[string]int{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	s.place = &place{TB: t, clock: newClock()}
	dir := filepath.Join(t.TempDir(), "r")
	choices := publish.Choices{Formats: []string{"simplestreams"}, Sites: sites,
		Tagger: func(string) (catalog.Tagger, bool) { return nil, false }}
	must(t, publish.Init(dir, choices, publish.InitOptions{Format: "simplestreams", Switch: "symlink"}))
	must(t, os.WriteFile(filepath.Join(dir, "publish.yaml"), []byte(config+"\n"), 0o644))
	c, err := publish.LoadConfig(dir, choices)
	must(t, err)
	c.Mirror.Limits.Free = 0
	r, err := publish.Open(dir, c, simplestreams.Format{}, sites, publish.Options{Who: "tester"})
	must(t, err)
	s.Mirror, err = New(r, "simplestreams", s.clock.now, func(*Hosts) (catalog.Upstream, error) {
		return upstream.New(upstream.Options{}), nil
	})
	must(t, err)
	s.Mirror.Warn = unexpected(t)
	return s
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	s.mu.Lock()
	wrong, data, ok := s.wrong, s.files[path], false
	if _, ok = s.files[path]; ok {
		s.sent[path]++
	}
	s.mu.Unlock()
	switch {
	case wrong != nil && wrong(w, path):
	case !ok:
		http.NotFound(w, r)
	default:
		_, _ = w.Write([]byte(data))
	}
}

func (s *shop) does(wrong func(w http.ResponseWriter, path string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = wrong
}

// sell makes the server have a version, whose files lie in a folder.
func (s *shop) sell(product, version, folder, data string) {
	meta, root := "meta of "+data, "hsqs of "+data
	s.mu.Lock()
	defer s.mu.Unlock()
	item := func(ftype, data string) map[string]any {
		path := "images/" + folder + "/file." + ftype
		s.files[path] = data
		return map[string]any{"ftype": ftype, "path": path, "size": len(data), "sha256": digestOf(data).Hex}
	}
	m := item("incus.tar.xz", meta)
	m["combined_squashfs_sha256"] = digestOf(meta + root).Hex
	if s.tree[product] == nil {
		s.tree[product] = map[string]map[string]any{}
	}
	s.tree[product][version] = map[string]any{"items": map[string]any{"incus.tar.xz": m, "root": item("squashfs", root)}}
	s.write()
}

func (s *shop) drop(product, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tree[product], version)
	s.write()
}

func (s *shop) write() {
	products, names := map[string]any{}, []string{}
	for name, versions := range s.tree {
		arch := name[strings.LastIndexByte(name, ':')+1:]
		products[name] = map[string]any{"arch": arch, "aliases": strings.Split(name, ":")[0], "versions": versions}
		names = append(names, name)
	}
	doc := func(path string, v any) {
		data, err := json.Marshal(v)
		must(s, err)
		s.files[path] = string(data)
	}
	doc("streams/v1/images.json", map[string]any{"format": "products:1.0", "products": products})
	doc("streams/v1/index.json", map[string]any{"format": "index:1.0", "index": map[string]any{"images": map[string]any{
		"datatype": "image-downloads", "path": "streams/v1/images.json", "products": names}}})
}

// versions are those that staging or production has.
func (s *shop) versions(in string) []string {
	s.Helper()
	images, err := s.Repo.List(ctx, in)
	must(s, err)
	var out []string
	for _, i := range images {
		out = append(out, i.Of().String())
	}
	return out
}

const sold, other = "debian:13:default:amd64", "alpine:3:default:arm64"

// What is selected comes into staging, and is published when production has all of it.
func TestSelected(t *testing.T) {
	s := newShop(t, "mirror: {address: images.example.com, deny: ['*/alpine:*']}")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	s.sell(sold, "20260102_00:00", "d2", "d2")
	s.sell(other, "20260102_00:00", "a", "a")
	ref := s.url + "#*"
	if _, err := s.Addresses(ctx, ref); kindOf(err) != fault.NotFound {
		t.Errorf("the address of what is not published: %v", err)
	}
	added, err := s.Add(ctx, Wish{References: []string{ref}, Versions: 1, By: alice()})
	must(t, err)
	id := added[0].Job.ID
	want := []string{sold + "/20260102_00:00"}
	if got := s.once(); got[ref] != "staged" || !slices.Equal(s.versions("staging"), want) {
		t.Fatalf("%v, staging has %v: %s", got, s.versions("staging"), s.job(id).Error)
	}
	j := s.job(id)
	if len(j.LeftOut) != 1 || !strings.HasPrefix(j.LeftOut[0], other+": may not come") || j.PinnedAt.IsZero() ||
		j.Address != "images.example.com#*" {
		t.Errorf("%+v", j)
	}
	if now, err := s.Settle(ctx, j); err != nil || now.State != Staged {
		t.Errorf("before the promote: %v %v", now.State, err)
	}
	if got := s.PinnedAt(ctx, j); got != "images.example.com#"+want[0] {
		t.Errorf("pinned at %q", got)
	}
	s.promote()
	if now, err := s.Settle(ctx, j); err != nil || now.State != Published {
		t.Errorf("after the promote: %v %v", now.State, err)
	}
	places, err := s.Addresses(ctx, ref)
	if err != nil || len(places) != 1 || places[0].Digest != digestOf("meta of d2hsqs of d2").Hex ||
		places[0].Pinned != "images.example.com#"+want[0] || !slices.Equal(places[0].Aliases, []string{"debian"}) {
		t.Errorf("%+v %v", places, err)
	}
	// All versions: what is there is not fetched again. What left the server stays.
	s.drop(sold, "20260102_00:00")
	s.sell(sold, "20260103_00:00", "d3", "d3")
	all := s.ask(ref)[0]
	s.once()
	if got := s.versions("staging"); len(got) != 3 || s.job(all).State != Staged {
		t.Errorf("staging has %v: %+v", got, s.job(all))
	}
	if now, _ := s.Settle(ctx, s.job(all)); now.State != Staged {
		t.Errorf("production has a part of it: %s", now.State)
	}
	sent := s.sent["images/d1/file.squashfs"]
	s.ask(ref)
	s.once()
	if s.sent["images/d1/file.squashfs"] != sent || s.sent["images/d2/file.squashfs"] != 1 {
		t.Errorf("sent %v", s.sent)
	}
	// The selections go with their jobs.
	files := func() int {
		list, err := os.ReadDir(filepath.Dir(s.selectionOf(id)))
		must(t, err)
		return len(list)
	}
	must(t, os.WriteFile(filepath.Join(filepath.Dir(s.selectionOf(id)), ".bcdfghjkmn.json12"), nil, 0o644)) // of a kill
	s.once()
	if n := files(); n != 3 {
		t.Errorf("%d selections", n)
	}
	s.clock.move(KeptDone + time.Hour)
	s.once()
	if n := files(); n != 0 {
		t.Errorf("%d selections are left", n)
	}
}

// The digest is that of what was selected last: each attempt selects anew.
func TestSelectedAnew(t *testing.T) {
	s := newShop(t, "")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	s.does(func(w http.ResponseWriter, path string) bool {
		if strings.HasPrefix(path, "images/") {
			w.WriteHeader(500)
			return true
		}
		return false
	})
	ref := s.url + "#debian:*"
	id := s.ask(ref)[0]
	if got := s.once(); got[ref] != "waiting unreachable" {
		t.Fatal(got)
	}
	first := s.job(id)
	s.does(nil)
	s.drop(sold, "20260101_00:00")
	s.sell(sold, "20260102_00:00", "d2", "d2")
	s.clock.move(time.Minute)
	s.once()
	j := s.job(id)
	if j.State != Staged || j.Digest == first.Digest || !j.PinnedAt.After(first.PinnedAt) ||
		!slices.Equal(s.versions("staging"), []string{sold + "/20260102_00:00"}) {
		t.Errorf("%+v, staging has %v", j, s.versions("staging"))
	}
	versions, err := s.selected(j)
	if err != nil || catalog.SelectionDigest(versions).String() != j.Digest {
		t.Errorf("%v %v", versions, err)
	}
	// A file that a power cut or a person changed is none: the job stays what it is.
	must(t, os.WriteFile(s.selectionOf(id), []byte(`{"digest":"`+j.Digest+`","versions":[]}`), 0o644))
	s.promote()
	if now, err := s.Settle(ctx, j); err != nil || now.State != Staged {
		t.Errorf("%v %v", now.State, err)
	}
}

// A runner that dies at any point of a selection leaves a job that is staged once.
func TestSelectedKilled(t *testing.T) {
	for n := 0; ; n++ {
		s := newShop(t, "")
		s.sell(sold, "20260101_00:00", "d1", "d1")
		ref := s.url + "#debian:*"
		id := s.ask(ref)[0]
		at := 0
		s.Queue.step = func(string) error {
			if at++; at > n {
				return errKilled
			}
			return nil
		}
		_, err := s.Run(ctx, RunOptions{Once: true})
		if at <= n {
			must(t, err)
			if n < 5 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		s.Queue.step = nil
		if got := s.once(); got[ref] != "staged" || !slices.Equal(s.versions("staging"), []string{sold + "/20260101_00:00"}) {
			t.Fatalf("killed at %d: %v: %s", n, got, s.job(id).Error)
		}
	}
}

// Other bytes at a path that production serves, or served a moment ago, are refused before
// anything is staged.
func TestSelectedConflict(t *testing.T) {
	s := newShop(t, "")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	ref := s.url + "#debian:*"
	s.ask(ref)
	s.once()
	s.promote()
	s.drop(sold, "20260101_00:00")
	s.sell(sold, "20260102_00:00", "d1", "other")
	conflict := func(when string) {
		t.Helper()
		before := s.versions("staging")
		id := s.ask(ref)[0]
		s.once()
		j := s.job(id)
		if j.State != Failed || j.Class != catalog.Conflict || !strings.Contains(j.Error, "images/d1/file.incus.tar.xz") ||
			!strings.Contains(j.Error, "(and 1 more)") || !strings.Contains(j.Hint, when) {
			t.Errorf("%s %s: %s; %s", j.State, j.Class, j.Error, j.Hint)
		}
		if got := s.versions("staging"); !slices.Equal(got, before) {
			t.Errorf("staging has %v", got)
		}
	}
	conflict("no longer has it")
	s.sell(other, "20260102_00:00", "a", "a")
	s.ask(s.url + "#alpine:*")
	s.once()
	_, err := s.Repo.Remove(ctx, sold)
	must(t, err)
	s.promote()
	conflict("free from")
	// In staging alone: another version names the path with other bytes.
	s = newShop(t, "")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	s.ask(s.url + "#debian:*")
	s.once()
	s.drop(sold, "20260101_00:00")
	s.sell(sold, "20260102_00:00", "d1", "other")
	id := s.ask(s.url + "#debian:*")[0]
	s.once()
	if j := s.job(id); j.State != Failed || j.Class != catalog.Conflict || !strings.Contains(j.Error, "different hashes") {
		t.Errorf("%s %s: %s", j.State, j.Class, j.Error)
	}
}

// What may not come is denied, also when that is known only from the products.
func TestSelectedDenied(t *testing.T) {
	s := newShop(t, "mirror: {deny: ['*/debian:*']}")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	if _, err := s.Add(ctx, Wish{References: []string{s.url + "#debian:*"}}); kindOf(err) != fault.Refused {
		t.Errorf("error %v", err)
	}
	id := s.ask(s.url + "#d*")[0]
	s.once()
	if j := s.job(id); j.State != Denied || !strings.Contains(j.Error, "mirror.deny has") {
		t.Errorf("%s: %s", j.State, j.Error)
	}
	for name, w := range map[string]Wish{
		"--filter arch=": {Platforms: []string{"linux/amd64"}}, "such as arch": {Filters: []string{"arch"}},
	} {
		w.References = []string{s.url + "#d*"}
		_, err := s.Add(ctx, w)
		e := new(fault.Error)
		if !errors.As(err, &e) || e.Kind != fault.Usage || !strings.HasPrefix(e.Hint, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := newPlace(t, "").Add(ctx, Wish{References: []string{app}, Versions: 2})
	if kindOf(err) != fault.Usage {
		t.Errorf("versions of an image without any: %v", err)
	}
}

// A selection that was made before the one that is staged is not staged over it.
func TestSelectedSuperseded(t *testing.T) {
	s := newShop(t, "")
	w := Want{Reference: "x", Canonical: s.url + "#a", Kind: s.Kind, Versions: 2}
	_, _, err := s.Queue.Add(ctx, Request{Want: w, By: alice()})
	must(t, err)
	c, err := s.Queue.Claim(ctx, nil)
	must(t, err)
	now := s.clock.now()
	must(t, c.Finish(Staged, func(j *Job) { j.Digest, j.PinnedAt = "sha256:new", now }))
	r := &runner{Mirror: s.Mirror}
	w.Locked = true // it selects by the same rules
	j := Job{ID: "bbbbbbbbbb", Want: w, Digest: "sha256:old", PinnedAt: now.Add(-time.Minute)}
	end := new(outcome)
	if err := r.newest(j); !errors.As(err, &end) || end.state != Superseded {
		t.Errorf("error %v", err)
	}
	j.Filters = []string{"arch=amd64"}
	must(t, r.newest(j))
}

// What a job says of its selection always fits into its file.
func TestLeftOutFits(t *testing.T) {
	long := strings.Repeat("\"\n", 5000)
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprint(i)+long)
	}
	j := Job{ID: newID(), LeftOut: leftOut(list), MissingPlatforms: list, Error: long, Hint: long, Digest: long,
		MediaType: long, Endpoint: long, Address: long, Generation: long}
	for range maxRequesters {
		j.Requesters = append(j.Requesters, Requester{Who: long, Via: long, Note: long})
	}
	j.Canonical = strings.Repeat("x", maxWant-500)
	if _, err := j.encode(); err != nil {
		t.Error(err)
	}
	if got := leftOut(list); len(got) != maxLeftOut || got[maxLeftOut-1] != "and 996 more" {
		t.Errorf("%d texts, the last %q", len(got), got[len(got)-1])
	}
}

// Who only looks needs no upstream to see what became of the versions that a job selected.
func TestSelectedSeen(t *testing.T) {
	s := newShop(t, "")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	id := s.ask(s.url + "#*")[0]
	s.once()
	state := func() Seen {
		t.Helper()
		view, err := NewReader(s.Repo, s.clock.now).View(ctx)
		if must(t, err); len(view.Jobs) != 1 || view.Jobs[0].ID != id {
			t.Fatalf("%+v", view.Jobs)
		}
		return view.Jobs[0]
	}
	if j := state(); j.State != Staged || j.Gone {
		t.Errorf("staged, it is %+v", j)
	}
	s.promote()
	if j := state(); j.State != Published || j.Address == "" || j.Generation != "1" {
		t.Errorf("published, it is %+v", j)
	}
}

// What was selected is promoted when the queue is dry, and what left staging is not.
func TestSelectedDrained(t *testing.T) {
	s := newShop(t, "mirror: {promote: drained}")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	s.ask(s.url + "#*")
	sum, err := s.Run(ctx, RunOptions{Once: true})
	if err != nil || sum != (Summary{Staged: 1, Generation: 1}) || len(s.versions("production")) != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
}
