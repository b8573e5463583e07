package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

// runs stores an image with a config for a platform.
func (f *fixture) runs(repository, os, arch string) d {
	return f.json(repository, ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest,
		"config": f.blob(repository, ociConfig,
			`{"os":"`+os+`","architecture":"`+arch+`"`+oneLayer),
		"layers": []d{f.blob(repository, "application/vnd.oci.image.layer.v1.tar+gzip", "layer of "+os+arch)}})
}

func (f *fixture) export(t *testing.T, platform string, images ...string) ([]byte, *catalog.Exported, error) {
	t.Helper()
	x := catalog.Export{Images: images, Platform: platform, Machine: "linux/amd64"}
	x.Copy = func(_ context.Context, w io.Writer, p string, want catalog.Digest) (int64, error) {
		file := f.files[p]
		if file == nil {
			return 0, fs.ErrNotExist
		}
		sum, err := want.New()
		if err != nil {
			return 0, err
		}
		sum.Write(file.Data)
		n, err := w.Write(file.Data)
		if err == nil && hex.EncodeToString(sum.Sum(nil)) != want.Hex {
			err = catalog.ErrDigest
		}
		return int64(n), err
	}
	var buf bytes.Buffer
	out, err := Format{}.Export(t.Context(), f.source(), &buf, x)
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
	if err != nil || len(out.Images) != 1 || out.Images[0].Digest.String() != multi.digest() || len(out.Findings) != 0 {
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
	if err != nil || len(out.Images) != 2 {
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

// A reference is read as Docker does; the name that the tree has counts first.
func TestExportReference(t *testing.T) {
	const odd = "host_5000/x"
	f := newFixture()
	one, bare := f.runs(repo, "linux", "amd64"), f.image(repo, "untagged")
	f.layout(repo, one.tag("latest"), bare)
	two := f.runs(odd, "linux", "amd64")
	f.layout(odd, two.tag("v1"))
	for ref, want := range map[string]string{
		"acme/app":                                   repo + ":latest",
		repo + ":latest":                             repo + ":latest",
		"acme/app:latest@" + one.digest():            repo + ":latest",
		"acme/app@" + one.digest():                   repo + ":latest",
		repo + "@" + bare.digest():                   repo + "@" + bare.digest(),
		odd + ":v1":                                  odd + ":v1",
		"host:5000/x:v1":                             odd + ":v1",
		odd + "@" + two.digest():                     odd + ":v1",
		"acme/app:v9":                                "",
		"acme/none":                                  "",
		"acme/app:latest@" + bare.digest():           "other",
		"acme/app@sha256:" + strings.Repeat("0", 64): "",
	} {
		_, out, err := f.export(t, "", ref)
		switch {
		case want == "":
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", ref, err)
			}
		case want == "other":
			if !errors.Is(err, catalog.ErrDigest) {
				t.Errorf("%s: %v", ref, err)
			}
		case err != nil || out.Images[0].Name != want:
			t.Errorf("%s: %+v %v", ref, out, err)
		}
	}
	if _, _, err := f.export(t, "", "A:"); !errors.As(err, new(*catalog.UsageError)) {
		t.Errorf("no reference: %v", err)
	}
}

// A variant of a processor is that processor.
func TestExportVariant(t *testing.T) {
	f := newFixture()
	f.layout(repo, f.list(repo, f.runs(repo, "linux", `arm","variant":"v6`), f.runs(repo, "linux", `arm","variant":"v7`),
		f.runs(repo, "linux", "amd64")).tag("v1"))
	for platform, want := range map[string]string{"linux/arm": "v6", "linux/arm/v7": "v7", "": "amd64"} {
		data, _, err := f.export(t, platform, repo+":v1")
		if err != nil {
			t.Fatal(err)
		}
		g := newFixture()
		r := tar.NewReader(bytes.NewReader(data))
		for h, err := r.Next(); err == nil; h, err = r.Next() {
			text, _ := io.ReadAll(r)
			g.write(h.Name, string(text))
		}
		var list []saved
		if err := json.Unmarshal(g.files[savedName].Data, &list); err != nil || len(list) != 1 {
			t.Fatal(err)
		}
		if config := g.files[list[0].Config]; !strings.Contains(string(config.Data), want) {
			t.Errorf("%s: %s", platform, config.Data)
		}
	}
}

// Layers that are packed by zstd bring a warning; a sha512 names a blob as well.
func TestExportOddBlobs(t *testing.T) {
	f := newFixture()
	config := f.blob(repo, ociConfig, `{"os":"linux","architecture":"amd64"`+oneLayer)
	const text = "a layer"
	long := fmt.Sprintf("%x", sha512.Sum512([]byte(text)))
	f.write(repo+"/blobs/sha512/"+long, text)
	layer := d{"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": "sha512:" + long, "size": len(text)}
	f.layout(repo, f.json(repo, ociManifest, d{"schemaVersion": 2, "mediaType": ociManifest, "config": config,
		"layers": []d{layer}}).tag("v1"))
	data, out, err := f.export(t, "", repo+":v1")
	if err != nil || len(out.Findings) != 1 || out.Findings[0].Code != "zstd-layer" {
		t.Fatalf("%+v %v", out, err)
	}
	g := newFixture()
	if _, err := g.add(t, archive(data), ""); err != nil {
		t.Fatal(err)
	}
	if file := g.files[repo+"/blobs/sha512/"+long]; file == nil || string(file.Data) != text {
		t.Error("the layer did not come")
	}
}
