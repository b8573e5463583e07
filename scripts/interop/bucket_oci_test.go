package interop_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// front is what the guide asks of a front: it answers v2/ itself, and passes on the rest.
// headers: with the digest, as registries say it, and no more of the store's own.
func front(t *testing.T, bucket string, headers bool) (host string) {
	t.Helper()
	to, err := url.Parse(bucket + "/prod/")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	proxy.ModifyResponse = func(r *http.Response) error {
		if sum := r.Header.Get("X-Amz-Meta-Sha256"); headers && sum != "" {
			r.Header.Set("Docker-Content-Digest", "sha256:"+sum)
		}
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintln(w, "{}")
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// skopeo inspects and copies what two machines promoted to a bucket, by tags and by digests,
// those of before a switch, too.
func TestBucketForSkopeo(t *testing.T) {
	need(t, "skopeo")
	program, err := shared.publish()
	if err != nil {
		t.Fatal(err)
	}
	bucket := store(t)
	var machines []*repo
	for i := range 2 {
		r := &repo{t: t, dir: filepath.Join(openDir(t), fmt.Sprint("machine", i)), program: program, umask: "022"}
		r.runIn("", 0, "init", "--format", "oci", "--production", "s3://images/prod", r.dir)
		machines = append(machines, r)
	}
	promote := func(r *repo, name, text string) source {
		t.Helper()
		from := newSource(t, text)
		to := filepath.Join(r.dir, "staging", filepath.FromSlash(name))
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from.dir))); err != nil {
			t.Fatal(err)
		}
		r.run("promote")
		return from
	}
	first := promote(machines[0], repository, "first")
	other := promote(machines[1], "quay.io/acme/other", "other")
	for _, headers := range []bool{true, false} {
		host := front(t, bucket, headers)
		pull := func(reference, want string) {
			t.Helper()
			at := "docker://" + host + "/" + reference
			if got := digestOf(command(t, "skopeo", "inspect", "--raw", "--tls-verify=false", at)); got != want {
				t.Errorf("%s is %s, want %s", reference, got, want)
			}
			dir := t.TempDir()
			command(t, "skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", at, "dir:"+dir)
			data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
			if err != nil || digestOf(string(data)) != want {
				t.Errorf("%s: %v, %s", reference, err, digestOf(string(data)))
			}
		}
		pull(repository+":v1", first.v1)
		pull(repository+":one", first.one)
		pull(repository+"@"+first.platform, first.platform)
		pull("quay.io/acme/other:v1", other.v1)
		tags := command(t, "skopeo", "list-tags", "--tls-verify=false", "docker://"+host+"/"+repository)
		if !strings.Contains(tags, `"one"`) || !strings.Contains(tags, `"v1"`) {
			t.Error(tags)
		}
		// Tags move. What they stood for can be pulled by its digest, and is back after a revert.
		second := promote(machines[0], repository, fmt.Sprint("second, ", headers))
		pull(repository+":v1", second.v1)
		pull(repository+"@"+first.v1, first.v1)
		machines[1].run("revert")
		pull(repository+":v1", first.v1)
		pull(repository+"@"+second.v1, second.v1)
		machines[1].run("verify", "--full")
		machines[0].run("stage", "reset")
	}
}
