package fanout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/store"
	"example.com/publish/publish/site/bucket/storetest"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/plain"
)

// openStore opens an object store, as the program does. Nothing waits there.
func openStore(dir string, c *publish.Config) (bucket.Store, error) {
	at, err := store.ParseURL(c.Production)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, store.Config{Bucket: at.Bucket, Prefix: at.Prefix, Endpoint: c.S3.Endpoint,
		PartSize: int64(c.S3.PartSize), Journal: filepath.Join(dir, ".publish", "uploads"),
		Sleep: func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }})
}

// storeChoices are choices with object stores.
func storeChoices() publish.Choices {
	c := choices
	c.Store, c.Format = openStore, func(string) catalog.Format { return plain.Format{} }
	return c
}

func openStored(dir string) (*publish.Repo, error) {
	c, err := publish.LoadConfig(dir, storeChoices())
	if err != nil {
		return nil, err
	}
	return publish.Open(dir, c, plain.Format{}, choices.Sites, publish.Options{Who: "tester", Targets: StateOf,
		Store: openStore})
}

// storeHost is a Host that also opens targets in object stores.
func storeHost(_ context.Context, dir string, setup publish.Setup) (*publish.Repo, error) {
	err := publish.CheckLayout(dir)
	switch {
	case err != nil:
		err = publish.InitTarget(dir, storeChoices(), setup)
	case setup.S3 != nil:
		err = publish.Configure(dir, setup)
	}
	if err != nil {
		return nil, err
	}
	return openStored(dir)
}

// storeDir is where a leader keeps the repository of a target in a store.
func storeDir(lead *publish.Repo, name string) string {
	return filepath.Join(lead.Dir, ".publish", "stores", name)
}

// configure makes publish.yaml of a leader of the format plain say this.
func configure(t *testing.T, lead *publish.Repo, text string) *publish.Repo {
	t.Helper()
	if err := os.WriteFile(filepath.Join(lead.Dir, publish.ConfigName), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return must(openStored(lead.Dir))(t)
}

var storeOptions = Options{Host: storeHost, Now: time.Now}

// sync brings targets forward and returns their results by name.
func syncAll(t *testing.T, lead *publish.Repo, names ...string) map[string]Result {
	t.Helper()
	_, list, err := Sync(ctx, lead, names, storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Result{}
	for _, res := range list {
		out[res.Name] = res
	}
	return out
}

// inTarget is what a target in a store serves: its generation, and its own files.
func inTarget(t *testing.T, dir string) (int, []string) {
	t.Helper()
	r := must(openStored(dir))(t)
	report, n, err := r.Verify(ctx, "", true)
	if err != nil || len(report.Findings) > 0 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	var files []string
	for _, image := range must(r.List(ctx, "production"))(t) {
		files = append(files, image.Product)
	}
	slices.Sort(files)
	return n, files
}

func TestStores(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *storetest.Server) {
		s.Setenv(t)
		lead := newLead(t, nil)
		dir := filepath.Join(t.TempDir(), "local")
		lead = configure(t, lead, fmt.Sprintf(`
targets:
  dead: {to: "s3://%[1]s/dead", s3: {endpoint: "http://127.0.0.1:1", timeout: 1s}}
  eu: {to: "s3://%[1]s/eu", s3: {endpoint: %[2]q}}
  local: {to: %[3]q}
  nobucket: {to: "s3://nobody/x", s3: {endpoint: %[2]q}}
  us: {to: "s3://%[1]s/us/", s3: {endpoint: %[2]q, readers: serve}}
`, s.Bucket, s.Endpoint, dir))
		promote(t, lead, map[string]string{"a": "one", "deep/b": "two"})
		got := syncAll(t, lead)
		for _, name := range []string{"eu", "us", "local"} {
			if res := got[name]; res.Err != nil || res.Generation != 1 || !res.Switched || res.NotAtomic != (name == "eu") {
				t.Errorf("%+v", res)
			}
		}
		for name, want := range map[string]string{"dead": "127.0.0.1:1", "nobucket": "NoSuchBucket"} {
			if res := got[name]; res.Err == nil || kindOf(res.Err) != publish.Failed || res.Generation != 0 ||
				!strings.Contains(res.Err.Error(), want) || !strings.Contains(res.Err.Error(), res.To) {
				t.Errorf("%+v", res)
			}
		}
		if n, files := inTarget(t, storeDir(lead, "us")); n != 1 || fmt.Sprint(files) != "[a deep/b]" {
			t.Errorf("%d, %v", n, files)
		}
		states := StateOf(lead)
		if states[1].Generation != 1 || states[1].LastError != "" || states[0].LastError == "" {
			t.Errorf("%+v", states)
		}

		// The copies may be lost.
		if err := durable.RemoveAll(filepath.Join(lead.Dir, ".publish", "stores")); err != nil {
			t.Fatal(err)
		}
		if res := syncAll(t, lead, "eu")["eu"]; res.Err != nil || res.Switched || res.Sent != 0 || res.Generation != 1 {
			t.Errorf("%+v", res)
		}
		promote(t, lead, map[string]string{"a": "one", "deep/c": "three"})
		if res := syncAll(t, lead, "us")["us"]; res.Err != nil || res.From != 1 || res.Sent != 1 || res.Carried != 1 {
			t.Errorf("%+v", res)
		}

		// A target elsewhere is another one.
		lead = configure(t, lead, fmt.Sprintf(`targets: {eu: {to: "s3://%s/asia", s3: {endpoint: %q}}}`, s.Bucket,
			s.Endpoint))
		if res := syncAll(t, lead)["eu"]; res.Err != nil || res.From != 0 || res.Generation != 2 || !res.Switched {
			t.Errorf("%+v", res)
		}
		// What it was keeps its leader.
		for name, want := range map[string]string{"us": "target us of another repository", "new": "of another repository"} {
			other := configure(t, newLead(t, nil), fmt.Sprintf(`targets: {%s: {to: "s3://%s/us", s3: {endpoint: %q, `+
				`readers: serve}}}`, name, s.Bucket, s.Endpoint))
			promote(t, other, map[string]string{"z": "other"})
			if res := syncAll(t, other)[name]; kindOf(res.Err) != publish.Refused || !strings.Contains(res.Err.Error(), want) {
				t.Errorf("%+v", res)
			}
			if !gone(filepath.Join(storeDir(other, name), ".publish", "layout")) {
				t.Error("it has joined it")
			}
		}
		if n, _ := inTarget(t, storeDir(lead, "eu")); n != 2 {
			t.Error(n)
		}
	})
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

// Bad credentials, and a production of its own.
func TestStoreRefused(t *testing.T) {
	s := storetest.Versity(t)
	s.Setenv(t)
	lead := newLead(t, nil)
	lead = configure(t, lead, fmt.Sprintf(`targets: {eu: {to: "s3://%s/own", s3: {endpoint: %q}}}`, s.Bucket, s.Endpoint))
	promote(t, lead, old2)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	res := syncAll(t, lead)["eu"]
	if e := new(publish.Error); !errors.As(res.Err, &e) || e.Kind != publish.Failed || e.Hint == "" ||
		!strings.Contains(e.Error(), "SignatureDoesNotMatch") {
		t.Errorf("%+v", res)
	}
	s.Setenv(t)
	own := filepath.Join(t.TempDir(), "own")
	if err := errors.Join(os.Mkdir(own, 0o755), os.WriteFile(filepath.Join(own, publish.ConfigName),
		fmt.Appendf(nil, "production: s3://%s/own\ns3: {endpoint: %q}\n", s.Bucket, s.Endpoint), 0o644),
		publish.Init(own, storeChoices(), publish.InitOptions{})); err != nil {
		t.Fatal(err)
	}
	if res := syncAll(t, lead)["eu"]; kindOf(res.Err) != publish.Refused ||
		!strings.Contains(res.Err.Error(), "a repository of its own") {
		t.Errorf("%+v", res)
	}
}

var old2 = map[string]string{"a": "one", "deep/b": "two"}

// Each request of a sync is spoiled on its way to a server: it is done, once.
func TestStoreSpoiledByTheNetwork(t *testing.T) {
	s := storetest.Fake(t)
	s.Setenv(t)
	proxy := storetest.NewProxy(t, s)
	lead := newLead(t, nil)
	lead = configure(t, lead, fmt.Sprintf(`targets: {eu: {to: "s3://%s/eu", s3: {endpoint: %q}}}`, s.Bucket,
		proxy.Endpoint))
	faults := []storetest.Fault{storetest.NeverSent, storetest.AnswerLost, storetest.Status500, storetest.Status503,
		storetest.Applied500}
	files := map[string]string{"a": "one"}
	promote(t, lead, files)
	if res := syncAll(t, lead)["eu"]; res.Err != nil {
		t.Fatal(res.Err)
	}
	for at := 1; ; at++ {
		fault := faults[at%len(faults)]
		files[fmt.Sprintf("b/%d", at)] = fmt.Sprint("content ", at)
		delete(files, fmt.Sprintf("b/%d", at-1))
		promote(t, lead, files)
		proxy.SpoilNth(at, fault)
		res := syncAll(t, lead)["eu"]
		took := len(proxy.Requests())
		proxy.Spoil(nil)
		if res.Err != nil || res.Generation != at+1 || !res.Switched {
			t.Fatalf("request %d, %s: %+v", at, fault, res)
		}
		if n, list := inTarget(t, storeDir(lead, "eu")); n != at+1 || len(list) != 2 {
			t.Fatalf("request %d, %s: %d, %v", at, fault, n, list)
		}
		if took < at {
			if at < 6 {
				t.Fatalf("a sync takes %d requests", took)
			}
			return
		}
	}
}

// ahead is a target that another machine brings forward just before this one asks.
type ahead struct {
	Target
	first func()
}

func (a *ahead) Sync(ctx context.Context, lead *publish.Lead, setup publish.Setup, progress Progress) (
	*Outcome, error) {
	if a.first != nil {
		a.first()
		a.first = nil
	}
	return a.Target.Sync(ctx, lead, setup, progress)
}

// A target that has a newer generation already, which the leader has by now, too, is up to
// date.
func TestSyncAhead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	lead := newLead(t, map[string]string{"a": dir})
	promote(t, lead, old)
	opt := Options{Host: host, Now: time.Now}
	opt.Of = func(name string, at publish.Address) Target {
		return &ahead{New(name, at, host), func() {
			promote(t, lead, next)
			l := must(lead.Lead(ctx))(t)
			defer l.Close()
			must(New(name, at, host).Sync(ctx, l, lead.Setup(), nil))(t)
		}}
	}
	_, list, err := Sync(ctx, lead, nil, opt)
	if err != nil || list[0].Err != nil || list[0].Generation != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	same(t, lead, dir)
}
