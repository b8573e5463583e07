package stage

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/tree"
)

// layoutBySHA512 makes a repository whose layer is named by its sha512, and returns the
// path of the layer.
func layoutBySHA512(t *testing.T, s *Stage, layer string) string {
	t.Helper()
	dir := filepath.Join(s.Dir, "acme", "app")
	write := func(path, data string) string {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(data), 0o644))
		return filepath.Join(dir, path)
	}
	blob := func(mediaType, data string) string {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(data)))
		write("blobs/sha256/"+sum, data)
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d}`, mediaType, sum,
			len(data))
	}
	long := fmt.Sprintf("%x", sha512.Sum512([]byte(layer)))
	manifest := blob("manifest.v1+json", fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[{"mediaType":`+
		`"application/vnd.oci.image.layer.v1.tar","digest":"sha512:%s","size":%d}]}`,
		blob("config.v1+json", `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:0"]}}`), long, len(layer)))
	write("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	write("index.json", fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s,"annotations":`+
		`{"org.opencontainers.image.ref.name":"v1"}}]}`, manifest[:len(manifest)-1]))
	return write("blobs/sha512/"+long, layer)
}

// A sha512 that an index claims is compared, and remembered with the sha256 of the rows:
// the next validation reads nothing for it.
func TestSHA512(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	path := layoutBySHA512(t, s, "the layer")
	now := stat(t, path).ModTime().Add(2 * 1e9)
	documents := stat(t, s.Dir, "acme", "app", "index.json").Size() // these are always read
	for i, more := range []bool{true, false} {
		got, err := s.Validate(t.Context(), Checks{Now: now})
		must(t, err)
		if len(got.Report.Errors()) != 0 || got.Report.HashedBytes > documents != more {
			t.Errorf("%d: %d bytes were read, %v", i, got.Report.HashedBytes, got.Report.Findings)
		}
	}
	valid, base := promoted(t, s, &Base{})
	for _, row := range valid.Rows {
		if len(row.SHA256) != 2*sha256.Size {
			t.Errorf("%+v", row)
		}
	}

	must(t, os.WriteFile(path, []byte("another l"), 0o644))
	got, err := s.Validate(t.Context(), Checks{Now: now})
	must(t, err)
	if f := got.Report.Errors(); len(f) != 1 || f[0].Code != "hash-mismatch" || f[0].Path != rel(t, s, path) {
		t.Errorf("%v", f)
	}
	snap := snapshot(t, s, base)
	if _, report := validate(t, snap); len(report.Errors()) != 1 {
		t.Errorf("it would be promoted: %v", report.Findings)
	}
}

// What a manifest with a sha512 names is remembered. Its bytes are compared all the same.
func TestSHA512Facts(t *testing.T) {
	s := newStage(t)
	s.Format = oci.Format{}
	s.Facts = filepath.Join(t.TempDir(), "facts")
	layoutBySHA512(t, s, "the layer")
	dir := filepath.Join(s.Dir, "acme", "app")
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	must(t, err)
	digest := regexp.MustCompile(`sha256:([0-9a-f]{64})`).FindSubmatch(index)
	manifest, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", string(digest[1])))
	must(t, err)
	long := fmt.Sprintf("%x", sha512.Sum512(manifest))
	path := filepath.Join(dir, "blobs", "sha512", long)
	must(t, os.WriteFile(path, manifest, 0o644))
	index = bytes.Replace(index, digest[0], []byte("sha512:"+long), 1)
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
	check := func() *Report {
		t.Helper()
		got, err := s.Validate(t.Context(), Checks{Now: time.Now()})
		must(t, err)
		return got.Report
	}
	if r := check(); len(r.Errors()) != 0 {
		t.Fatalf("%v", r.Findings)
	}
	if _, ok := tree.ReadFacts(s.Facts).Recall(catalog.Digest{Algorithm: catalog.SHA512, Hex: long}); !ok {
		t.Error("nothing is remembered")
	}
	must(t, os.WriteFile(path, bytes.Replace(manifest, []byte("config"), []byte("cOnfig"), 1), 0o644))
	if r := check(); len(r.Errors()) != 1 || r.Errors()[0].Code != "hash-mismatch" {
		t.Errorf("%v", r.Findings)
	}
}

// What a manifest names is known from its digest, in a kept generation also.
func TestValidateTreeRemembers(t *testing.T) {
	s := newStage(t)
	s.Format, s.Facts = oci.Format{}, filepath.Join(t.TempDir(), "facts")
	layer := layoutBySHA512(t, s, "the layer")
	_, err := s.Validate(t.Context(), Checks{Now: stat(t, layer).ModTime().Add(2 * 1e9)})
	must(t, err)
	for _, facts := range []*tree.Facts{tree.ReadFacts(""), tree.ReadFacts(s.Facts)} {
		src, err := tree.OpenSource(s.Dir)
		must(t, err)
		defer src.Close()
		got, err := ValidateTree(t.Context(), src, s.Format, Checks{}, nil, facts, nil, nil)
		must(t, err)
		if len(got.Report.Errors()) != 0 || len(got.Catalog.Items) != 3 {
			t.Errorf("%v, %v", got.Report.Findings, got.Catalog.Items)
		}
	}
	names, err := os.ReadDir(filepath.Join(s.Dir, "acme", "app", "blobs", "sha256"))
	must(t, err)
	for _, n := range names { // the manifest is the longer one
		path := filepath.Join(s.Dir, "acme", "app", "blobs", "sha256", n.Name())
		if stat(t, path).Size() > 100 {
			must(t, os.Remove(path))
		}
	}
	for items, facts := range map[int]*tree.Facts{1: tree.ReadFacts(""), 3: tree.ReadFacts(s.Facts)} {
		src, err := tree.OpenSource(s.Dir)
		must(t, err)
		defer src.Close()
		got, err := ValidateTree(t.Context(), src, s.Format, Checks{}, nil, facts, nil, nil)
		must(t, err)
		if f := got.Report.Errors(); len(f) != 1 || f[0].Code != "missing" || len(got.Catalog.Items) != items {
			t.Errorf("%d: %v, %v", items, f, got.Catalog.Items)
		}
	}
}

func rel(t *testing.T, s *Stage, path string) string {
	t.Helper()
	p, err := filepath.Rel(s.Dir, path)
	must(t, err)
	return p
}
