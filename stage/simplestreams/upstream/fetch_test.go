package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// What is wanted comes, with the fields that nobody knows, and nothing else is asked for.
func TestFetch(t *testing.T) {
	for name, c := range map[string]struct {
		pattern string
		newest  int
		filters []string
		want    []string
		files   int
	}{
		"all":          {"*", 0, nil, []string{alpine + "/20260103_00:00", debian + "/20260101_00:00", debian + "/20260102_00:00"}, 6},
		"newest":       {"*", 1, nil, []string{alpine + "/20260103_00:00", debian + "/20260102_00:00"}, 4},
		"product":      {"debian:*", 0, nil, []string{debian + "/20260101_00:00", debian + "/20260102_00:00"}, 4},
		"version":      {"debian:*/20260101*", 0, nil, []string{debian + "/20260101_00:00"}, 2},
		"arch":         {"*", 0, []string{"arch=arm64"}, []string{alpine + "/20260103_00:00"}, 2},
		"not arch":     {"*", 1, []string{"arch!=arm64"}, []string{debian + "/20260102_00:00"}, 2},
		"ftype":        {"debian:*", 1, []string{"ftype!=squashfs"}, []string{debian + "/20260102_00:00"}, 1},
		"label, regex": {"*", 1, []string{"label~rel", "os~(Deb|x)", "item_name!~^$"}, []string{alpine + "/20260103_00:00", debian + "/20260102_00:00"}, 4},
		"no label":     {"*", 1, []string{"sublabel=", "version_name~20260103"}, []string{alpine + "/20260103_00:00"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			f, to := usual(newFake(t)), newStore()
			var checked, chosen []string
			got, err := fetching(t, asking(Settings{}), f.url, c.pattern, to, func(r *catalog.FetchRequest) {
				r.Versions, r.Filters = c.newest, c.filters
				r.Check = func(v catalog.FetchedVersion) error {
					checked = append(checked, v.Product+"/"+v.Version)
					return nil
				}
				r.Chosen = func(list []catalog.FetchedVersion) error {
					if f.asked("images/d") > 0 {
						t.Error("a file was asked for before the selection was told")
					}
					for _, v := range list {
						chosen = append(chosen, v.Product+"/"+v.Version)
					}
					return nil
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(names(got), c.want) || !slices.Equal(checked, c.want) || !slices.Equal(chosen, c.want) {
				t.Errorf("%v, checked %v, chosen %v, want %v", names(got), checked, chosen, c.want)
			}
			if len(got.Contents) != c.files || len(to.have) != c.files || !got.Tree {
				t.Errorf("%d files, %d contents", len(got.Contents), len(to.have))
			}
			for _, want := range []string{`"extra":"kept"`, `"unknown":{"kept":true}`, `"license":"x"`} {
				if doc := string(got.Documents[catalogPath]); !strings.Contains(doc, want) && name != "arch" {
					t.Errorf("%s is lost: %s", want, doc)
				}
			}
			if strings.Contains(string(got.Documents[indexPath]), "other") {
				t.Error("another stream came")
			}
			if f.asked("other.json") > 0 || f.asked(indexPath) != 1 || f.asked(catalogPath) != 1 {
				t.Error("documents were asked for that nobody needs")
			}
			asked := f.asked("images/")
			if _, err := fetching(t, asking(Settings{}), f.url, c.pattern, to, func(r *catalog.FetchRequest) {
				r.Versions, r.Filters = c.newest, c.filters
			}); err != nil || f.asked("images/") != asked {
				t.Errorf("content that is there was fetched: %v", err)
			}
		})
	}
}

// The digest is that of what was selected, in one documented form.
func TestPin(t *testing.T) {
	f := usual(newFake(t))
	u := asking(Settings{})
	r, err := u.Parse(f.url + "#alpine:*")
	if err != nil {
		t.Fatal(err)
	}
	p, err := u.Pin(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	line := func(item, data string) string {
		return `"` + alpine + `" "20260103_00:00" "` + item + `" ` + sum(data) + "\n"
	}
	want := sum(line("incus.tar.xz", "meta of a1") + line("root.squashfs", "root of a1"))
	if p.Digest.Hex != want {
		t.Errorf("%s, want %s", p.Digest, want)
	}
}

// What is wrong with documents is of the class catalog, and comes once only.
func TestDocuments(t *testing.T) {
	item := func(f *fake, change func(d) d) {
		items := f.image("images/d1", "d1")
		items["root.squashfs"] = change(items["root.squashfs"].(d))
		f.documents(d{debian: product("", "amd64", map[string]d{"20260101_00:00": items})})
	}
	whole := func(f *fake, path string) string { return f.files[path] }
	for name, c := range map[string]struct {
		change func(f *fake)
		texts  []string
	}{
		"a catalog of zeros": {func(f *fake) { f.put(catalogPath, strings.Repeat("\x00", 5000)) },
			[]string{"images.json", "5000 bytes of zeros"}},
		"an index of zeros": {func(f *fake) { f.put(indexPath, strings.Repeat("\x00", 5000)) }, []string{"index.json", "zeros"}},
		"an empty catalog":  {func(f *fake) { f.put(catalogPath, "") }, []string{"images.json", "is empty"}},
		"cut": {func(f *fake) { f.put(catalogPath, whole(f, catalogPath)[:300]) },
			[]string{"images.json", "is cut after 300 bytes"}},
		"cut behind a brace": {func(f *fake) { f.put(catalogPath, `{"products":{}`) }, []string{"images.json", "is not JSON"}},
		"HTML": {func(f *fake) { f.put(indexPath, "<!DOCTYPE html><html>login</html>") },
			[]string{"index.json", "a page of HTML"}},
		"a type": {func(f *fake) { f.put(catalogPath, `{"products":{"`+debian+`":{"versions":[]}}}`) },
			[]string{"is an array"}},
		"climbing": {func(f *fake) { item(f, func(i d) d { return i.with("path", "../../etc/passwd") }) },
			[]string{"leads out of the tree"}},
		"absolute": {func(f *fake) { item(f, func(i d) d { return i.with("path", "/etc/passwd") }) }, []string{"is absolute"}},
		"ours": {func(f *fake) { item(f, func(i d) d { return i.with("path", ".publish-generation") }) },
			[]string{"belongs to publish"}},
		"a document": {func(f *fake) { item(f, func(i d) d { return i.with("path", "streams/v1/index.json") }) },
			[]string{"index"}},
		"beside documents": {func(f *fake) { item(f, func(i d) d { return i.with("path", "streams/v1/index.sjson") }) },
			[]string{"among the documents"}},
		"a catalog that climbs": {func(f *fake) {
			f.put(indexPath, strings.Replace(whole(f, indexPath), catalogPath, "../x.json", 1))
		}, []string{"leads out of the tree"}},
		"no sha256": {func(f *fake) { item(f, func(i d) d { return i.with("sha256", "") }) }, []string{"has no sha256"}},
		"no size":   {func(f *fake) { item(f, func(i d) d { return i.with("size", nil) }) }, []string{"has no size"}},
		"a wrong sha256": {func(f *fake) { item(f, func(i d) d { return i.with("sha256", "../..") }) },
			[]string{"hex digits"}},
		"two hashes of a path": {func(f *fake) { item(f, func(i d) d { return i.with("path", "images/d1/incus.tar.xz") }) },
			[]string{"different hashes"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, to := usual(newFake(t)), newStore()
			c.change(f)
			_, err := fetching(t, asking(Settings{}), f.url, "*", to)
			wantFailure(t, err, catalog.WrongCatalog, false, append(c.texts, f.url)...)
			if len(to.have) > 0 || f.asked("passwd") > 0 {
				t.Error("something was fetched")
			}
		})
	}
	f := usual(newFake(t))
	for _, page := range []string{indexPath, catalogPath} {
		f.does(once(1, page, words("<html>please log in</html>")))
		if _, err := fetching(t, asking(Settings{}), f.url, "*", newStore()); err != nil {
			t.Errorf("%s is a login page once: %v", page, err)
		}
	}
	f.does(once(always, catalogPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "99999999999")
		w.WriteHeader(200)
	}))
	_, err := fetching(t, asking(Settings{}), f.url, "*", newStore())
	wantFailure(t, err, catalog.OverLimit, false, "more bytes than")
}

// Items that no client reads need no sha256: they are left out, and told.
func TestLeftOut(t *testing.T) {
	f := newFake(t)
	items := f.image("images/d1", "d1")
	items["notes"] = d{"ftype": "manifest", "path": "images/d1/notes", "size": 5}
	items["empty"] = d{"ftype": "nothing"}
	f.documents(d{debian: product("", "amd64", map[string]d{"20260101_00:00": items})})
	got, err := fetching(t, asking(Settings{}), f.url, "*", newStore())
	if err != nil {
		t.Fatal(err)
	}
	doc := string(got.Documents[catalogPath])
	if len(got.LeftOut) != 1 || !strings.Contains(got.LeftOut[0], "/notes: has no sha256") ||
		strings.Contains(doc, "notes") || !strings.Contains(doc, `"empty"`) {
		t.Errorf("%q: %s", got.LeftOut, doc)
	}
}

// Products that the index does not list are none to clients. A version whose name is no date
// is older than all that are.
func TestHidden(t *testing.T) {
	f := newFake(t)
	f.documents(d{debian: product("", "amd64", map[string]d{"20260101_00:00": f.image("images/d1", "d1"),
		"latest": f.image("images/d2", "d2")}), alpine: product("", "arm64", map[string]d{
		"20260101_00:00": f.image("images/a1", "a1")})})
	f.put(indexPath, strings.Replace(f.files[indexPath], `"`+alpine+`",`, "", 1))
	got, err := fetching(t, asking(Settings{}), f.url, "*", newStore(), func(r *catalog.FetchRequest) { r.Versions = 1 })
	if err != nil || !slices.Equal(names(got), []string{debian + "/20260101_00:00"}) {
		t.Errorf("%v %+v", err, got)
	}
}

// A product that may not come is left out; if all are, that is told.
func TestAllow(t *testing.T) {
	f := usual(newFake(t))
	var asked []string
	only := func(ok string) func(*catalog.FetchRequest) {
		return func(r *catalog.FetchRequest) {
			r.Allow = func(name string) string {
				asked = append(asked, name)
				if strings.Contains(name, ok) {
					return ""
				}
				return "policy"
			}
		}
	}
	got, err := fetching(t, asking(Settings{}), f.url, "*", newStore(), only("alpine"))
	if err != nil || len(got.Versions) != 1 || !slices.Equal(got.LeftOut, []string{debian + ": may not come: policy"}) {
		t.Errorf("%v %+v", err, got)
	}
	host := strings.TrimPrefix(f.url, "http://")
	if !slices.Contains(asked, host+"/"+debian) || len(asked) != 2 {
		t.Errorf("asked about %v", asked)
	}
	_, err = fetching(t, asking(Settings{}), f.url, "*", newStore(), only("none"))
	if denied := new(catalog.DeniedError); !errors.As(err, &denied) {
		t.Errorf("error %v", err)
	}
	stop := errors.New("not in the lock")
	_, err = fetching(t, asking(Settings{}), f.url, "*", newStore(), func(r *catalog.FetchRequest) {
		r.Check = func(catalog.FetchedVersion) error { return stop }
	})
	if !errors.Is(err, stop) || f.asked("images/d2") > 0 {
		t.Errorf("error %v", err)
	}
}

// What the server does not have.
func TestNotThere(t *testing.T) {
	f := usual(newFake(t))
	hint := func(err error) string {
		failed := new(catalog.RemoteError)
		_ = errors.As(err, &failed)
		return failed.Hint
	}
	_, err := fetching(t, asking(Settings{}), f.url, "debain:*", newStore())
	wantFailure(t, err, catalog.NotFound, false, "no such product")
	if !strings.Contains(hint(err), debian) || f.asked(indexPath) != 1 {
		t.Errorf("hint %q, %d requests", hint(err), f.asked(indexPath))
	}
	_, err = fetching(t, asking(Settings{}), f.url, "debian:*/2025*", newStore())
	wantFailure(t, err, catalog.NotFound, false, "no such version")
	_, err = fetching(t, asking(Settings{}), f.url, "*", newStore(), func(r *catalog.FetchRequest) {
		r.Filters = []string{"arch=s390x"}
	})
	wantFailure(t, err, catalog.NotFound, false, "passes the filters")
	_, err = fetching(t, asking(Settings{}), newFake(t).url, "*", newStore())
	wantFailure(t, err, catalog.NotFound, false, "index.json: 404")
	delete(f.files, catalogPath)
	_, err = fetching(t, asking(Settings{}), f.url, "*", newStore())
	wantFailure(t, err, catalog.NotFound, true, "images.json: 404")
	_, err = fetching(t, asking(Settings{}, func(o *Options) { o.Limits.Bytes = 20 }), usual(newFake(t)).url, "*", newStore())
	wantFailure(t, err, catalog.OverLimit, false, "more than 20 bytes")
	_, err = fetching(t, asking(Settings{}, func(o *Options) { o.Limits.Files = 2 }), usual(newFake(t)).url, "*", newStore())
	wantFailure(t, err, catalog.OverLimit, false, "6 files")
}

// A server drops a version while it is fetched: the index is read anew, once.
func TestDropped(t *testing.T) {
	f := usual(newFake(t))
	var chosen int
	count := func(r *catalog.FetchRequest) {
		r.Chosen = func([]catalog.FetchedVersion) error { chosen++; return nil }
	}
	f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		if strings.Contains(r.URL.Path, "images/d1/") {
			f.documents(d{debian: product("debian/13", "amd64", map[string]d{"20260102_00:00": f.image("images/d2", "d2")})})
			w.WriteHeader(404)
			return
		}
		right.ServeHTTP(w, r)
	})
	got, err := fetching(t, asking(Settings{}), f.url, "debian:*", newStore(), count)
	if err != nil || len(got.Versions) != 1 || chosen != 2 || f.asked(indexPath) != 2 {
		t.Errorf("%v %v, chosen %d times", err, got, chosen)
	}
	never := usual(newFake(t))
	never.does(once(always, "images/d1/", code(404)))
	_, err = fetching(t, asking(Settings{}), never.url, "debian:*", newStore())
	wantFailure(t, err, catalog.NotFound, false, "images/d1/")
	if never.asked(indexPath) != 2 {
		t.Errorf("the index was read %d times", never.asked(indexPath))
	}
}

// Files come of mirrors in turn, and go on where they were cut.
func TestFiles(t *testing.T) {
	f := usual(newFake(t))
	cut := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "root of")
	}
	to := newStore()
	f.does(once(1, "d1/root", cut))
	if _, err := fetching(t, asking(Settings{}), f.url, "debian:*/20260101*", to); err != nil || !slices.Contains(to.froms, 7) {
		t.Errorf("cut: %v, asked from %v", err, to.froms)
	}
	to = newStore()
	f.does(once(1, "d1/root", words("root of d9")))
	if _, err := fetching(t, asking(Settings{}), f.url, "debian:*/20260101*", to); err != nil {
		t.Errorf("wrong bytes once: %v", err)
	}
	f.does(once(always, "d1/root", words("root of d9")))
	_, err := fetching(t, asking(Settings{}), f.url, "debian:*/20260101*", newStore())
	wantFailure(t, err, catalog.WrongDigest, false, "d1/root.squashfs")
	f.does(once(always, "d1/root", words("<html>login</html>")))
	_, err = fetching(t, asking(Settings{}), f.url, "debian:*/20260101*", newStore())
	wantFailure(t, err, catalog.WrongDigest, false, "d1/root.squashfs")

	f = usual(newFake(t)) // requests that were given up may still come to the former one
	lacks, broken, has := newFake(t), usual(newFake(t)), usual(newFake(t))
	broken.does(once(always, "", code(500)))
	set := Settings{Mirrors: []string{lacks.url, broken.url, has.url}}
	if _, err := fetching(t, asking(set), f.url, "debian:*", newStore()); err != nil {
		t.Error(err)
	}
	if lacks.asked("images/") == 0 || has.asked("images/d1") != 2 || f.asked("images/") > 0 ||
		has.asked("streams/") > 0 {
		t.Errorf("the mirrors were asked %d, %d, %d times", lacks.asked(""), broken.asked(""), has.asked(""))
	}
	liar := usual(newFake(t))
	liar.does(once(always, "images/", words("root of d9")))
	if _, err := fetching(t, asking(Settings{Mirrors: []string{liar.url}}), f.url, "debian:*", newStore()); err != nil {
		t.Errorf("a mirror with wrong bytes: %v", err)
	}
	// All places lack it: that is not found. One is not well: it may come yet.
	f.does(once(always, "images/", code(404)))
	_, err = fetching(t, asking(Settings{Mirrors: []string{lacks.url}}), f.url, "debian:*", newStore())
	wantFailure(t, err, catalog.NotFound, false)
	_, err = fetching(t, asking(Settings{Mirrors: []string{broken.url}}), f.url, "debian:*", newStore())
	wantFailure(t, err, catalog.Unreachable, true, "500")
}

// Paths stay relative to the URL that was asked for, wherever the index is.
func TestRedirectedIndex(t *testing.T) {
	f, other := usual(newFake(t)), usual(newFake(t))
	f.does(func(w http.ResponseWriter, r *http.Request, right http.Handler) {
		if strings.HasSuffix(r.URL.Path, "index.json") {
			http.Redirect(w, r, other.url+"/streams/v1/index.json?token=secret", http.StatusFound)
			return
		}
		right.ServeHTTP(w, r)
	})
	set := Settings{Credentials: []byte(`{"auths":{"` + strings.TrimPrefix(f.url, "http://") + `":{"auth":"bWU6c2VjcmV0"}}}`)}
	if _, err := fetching(t, asking(set), f.url, "*", newStore()); err != nil {
		t.Fatal(err)
	}
	if other.asked("") != 1 || f.asked("images/") == 0 {
		t.Errorf("the other server was asked %d times", other.asked(""))
	}
	if other.log[0].Header.Get("Authorization") != "" || f.log[0].Header.Get("Authorization") != "Basic bWU6c2VjcmV0" {
		t.Error("the credentials went along")
	}
	f.does(once(always, "index.json", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/secret", http.StatusFound)
	}))
	_, err := fetching(t, asking(Settings{}), f.url, "*", newStore())
	wantFailure(t, err, catalog.Unreachable, false, "link-local")
	f.does(once(always, "", code(401)))
	_, err = fetching(t, asking(Settings{}), f.url, "*", newStore())
	wantFailure(t, err, catalog.Unauthorized, false)
}

// Of two entries for one server, the one that is a URL counts.
func TestCredentialsTwice(t *testing.T) {
	f := usual(newFake(t))
	set := Settings{Credentials: []byte(`{"auths": {"` + strings.TrimPrefix(f.url, "http://") + `": {"auth": "YTpi"}, "` +
		f.url + `": {"auth": "bWU6c2VjcmV0"}}}`)}
	if _, err := fetching(t, asking(set), f.url, "*", newStore()); err != nil {
		t.Fatal(err)
	}
	if got := f.log[0].Header.Get("Authorization"); got != "Basic bWU6c2VjcmV0" {
		t.Errorf("sent is %q", got)
	}
}

// A server that wants a pause gets it, and other places may serve meanwhile.
func TestPause(t *testing.T) {
	f := usual(newFake(t))
	blocked := ""
	f.does(once(1, "index", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(429)
	}))
	u := asking(Settings{}, func(o *Options) { o.Blocked = func(host string, _ time.Time) { blocked = host } })
	_, err := fetching(t, u, f.url, "*", newStore())
	wantFailure(t, err, catalog.RateLimit, true)
	if blocked != strings.TrimPrefix(f.url, "http://") {
		t.Errorf("%q is blocked", blocked)
	}
}

// A setting that is wrong fails what is wanted of that server.
func TestSettings(t *testing.T) {
	f := usual(newFake(t))
	_, err := fetching(t, asking(Settings{Keyring: []byte("nonsense")}), f.url, "*", newStore())
	wantFailure(t, err, catalog.BadSignature, false, "keyring")
	_, err = fetching(t, asking(Settings{Credentials: []byte("nonsense")}), f.url, "*", newStore())
	wantFailure(t, err, catalog.Unauthorized, false, "credentials")
	u := New(Options{Settings: func(string) (Settings, error) {
		return Settings{}, catalog.Failed(catalog.BadTLS, "x", "no file")
	}})
	_, err = fetching(t, u, f.url, "*", newStore())
	wantFailure(t, err, catalog.BadTLS, false)
	if f.asked("") > 0 {
		t.Error("it was asked")
	}
}
