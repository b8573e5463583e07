package oci

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// runs stores an image with a config for a platform.
func (f *fixture) runs(repository, os, arch string) d {
	return f.json(repository, ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest,
		"config": f.blob(repository, "application/vnd.oci.image.config.v1+json",
			`{"os":"`+os+`","architecture":"`+arch+`"}`),
		"layers": []d{f.blob(repository, "application/vnd.oci.image.layer.v1.tar+gzip", "layer of "+os+arch)}})
}

func (f *fixture) export(t *testing.T, platform string, images ...string) ([]byte, *Exported, error) {
	t.Helper()
	x := Export{Platform: platform, Machine: "linux/amd64", Open: func(p string) (io.ReadCloser, error) {
		file := f.files[p]
		if file == nil {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(file.Data)), nil
	}}
	for _, i := range images {
		group, version, _ := strings.Cut(i, ":")
		x.Images = append(x.Images, catalog.Name{Group: group, Version: version})
	}
	var buf bytes.Buffer
	out, err := Write(t.Context(), f.source(), &buf, x)
	return buf.Bytes(), out, err
}

// What was exported and brought in is what it was, referrers too; the bytes are the
// same each time.
func TestExport(t *testing.T) {
	f := newFixture()
	arm, amd := f.runs(repo, "linux", "arm64"), f.runs(repo, "linux", "amd64")
	multi := f.list(repo, arm, amd, f.runs(repo, "unknown", "unknown"))
	sbom := f.image(repo, "sbom", "subject", amd)
	f.layout(repo, multi.tag("v1"), multi.tag("latest"), sbom, f.image(repo, "other").tag("v0"))
	data, out, err := f.export(t, "", repo+":v1")
	if err != nil || len(out.Digests) != 1 || out.Digests[0].String() != multi.digest() || len(out.Findings) != 0 {
		t.Fatalf("%+v %v", out, err)
	}
	if again, _, err := f.export(t, "", repo+":v1"); err != nil || !bytes.Equal(again, data) {
		t.Errorf("other bytes the second time: %v", err)
	}
	if text := string(data); !strings.Contains(text, `"RepoTags":["docker.io/acme/app:v1"]`) ||
		!strings.Contains(text,
			`"io.containerd.image.name":"docker.io/acme/app:v1"`) || strings.Contains(text, "latest") {
		t.Error("the names are not those that engines read")
	}
	g := newFixture()
	if _, err := g.add(t, archive(data), ""); err != nil {
		t.Fatal(err)
	}
	cat, findings := g.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/v1"})
	if cat.Images[0].Fingerprint != multi.digest() || len(cat.Images[0].Paths) != 1+3*3+3 {
		t.Errorf("%+v", cat.Images[0])
	}
}

// Two tags of one image have what refers to it in common.
func TestExportTags(t *testing.T) {
	f := newFixture()
	one := f.runs(repo, "linux", "amd64")
	f.layout(repo, one.tag("v1"), one.tag("latest"), f.image(repo, "sbom", "subject", one))
	data, out, err := f.export(t, "", repo+":v1", repo+":latest")
	if err != nil || len(out.Digests) != 2 {
		t.Fatalf("%+v %v", out, err)
	}
	g := newFixture()
	if _, err := g.add(t, archive(data), ""); err != nil {
		t.Fatal(err)
	}
	cat, findings := g.read(t)
	equal(t, "findings", findings, nil)
	equal(t, "images", names(cat), []string{repo + "/latest", repo + "/v1"})
	if index, err := parseIndex(g.files[repo+"/index.json"].Data); err != nil || len(index.entries) != 3 {
		t.Errorf("%d entries, want 3: %v", len(index.entries), err)
	}
}

func TestExportPlatform(t *testing.T) {
	f := newFixture()
	f.layout(repo, f.list(repo, f.runs(repo, "linux", "arm64"), f.runs(repo, "linux", "riscv64")).tag("v1"),
		f.runs(repo, "linux", "s390x").tag("one"))
	if data, out, err := f.export(t, "", repo+":v1"); err != nil || len(out.Findings) != 1 ||
		strings.Contains(string(data), "RepoTags") {
		t.Errorf("%+v %v", out, err)
	}
	if data, _, err := f.export(t, "linux/riscv64", repo+":v1"); err != nil ||
		!strings.Contains(string(data), "RepoTags") {
		t.Errorf("%v", err)
	}
	if data, _, err := f.export(t, "", repo+":one"); err != nil || !strings.Contains(string(data), "RepoTags") {
		t.Errorf("the only platform: %v", err)
	}
	if _, _, err := f.export(t, "linux/amd64", repo+":v1"); err == nil ||
		!strings.Contains(err.Error(), "has no image for") {
		t.Errorf("%v", err)
	}
	if _, _, err := f.export(t, "", repo+":v2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A blob with other bytes ends the archive in the middle.
func TestExportDamaged(t *testing.T) {
	for _, text := range []string{"layer of linuxamd64", "short", ""} {
		f := newFixture()
		f.layout(repo, f.runs(repo, "linux", "amd64").tag("v1"))
		for p, file := range f.files {
			if strings.Contains(string(file.Data), "layer of") {
				if f.write(p, strings.ToUpper(text)); text == "" {
					delete(f.files, p)
				}
			}
		}
		data, _, err := f.export(t, "", repo+":v1")
		if err == nil {
			t.Errorf("%q is exported", text)
		}
		if g := newFixture(); err != nil {
			if _, err := g.add(t, archive(data), ""); err == nil {
				t.Error("and brought in")
			}
		}
	}
}
