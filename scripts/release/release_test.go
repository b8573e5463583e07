package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// small returns a release of a small program, in a folder of its own.
func small(t *testing.T) release {
	t.Helper()
	r := release{tag: "v1.2.3-rc.1", commit: "0123456789abcdef0123456789abcdef01234567", at: time.Unix(1767225600, 0).UTC(),
		maintainer: "Somebody <somebody@example.com>", source: "../..", out: t.TempDir()}
	binaries := map[string]string{}
	for _, arch := range architectures {
		binaries[arch] = filepath.Join(t.TempDir(), "tiny")
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", binaries[arch],
			"./testdata/tiny")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	units, err := r.units()
	if err != nil || len(units) < 16 {
		t.Fatalf("%d units, %v", len(units), err)
	}
	made := generated{units: units, pages: map[string]string{"publish.1": ".TH PUBLISH 1\n", "publish-oci.7": ".TH\n"},
		completions: map[string]string{"bash": "# bash\n", "zsh": "#compdef publish\n", "fish": "# fish\n"},
		notices:     "licenses\n", changelog: "# Changelog\n", license: "Apache\n", readme: "# publish\n", rules: "groups: []\n"}
	if err := r.assemble(t.Context(), binaries, made); err != nil {
		t.Fatal(err)
	}
	if err := r.sum(); err != nil {
		t.Fatal(err)
	}
	return r
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// needs skips a test whose tool is missing.
func needs(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// One release is for all tests that look at a part of it: the second is for the first test.
func TestRelease(t *testing.T) {
	a, b := small(t), small(t)
	t.Run("repeats", func(t *testing.T) { repeats(t, a, b) })
	t.Run("debian package", func(t *testing.T) { debianPackage(t, a) })
	t.Run("image", func(t *testing.T) { image(t, a) })
	t.Run("materials", func(t *testing.T) { materials(t, a) })
}

// The same commit makes the same bytes, though time passes and temporary folders have other names.
func repeats(t *testing.T, a, b release) {
	want := []string{"SHA256SUMS", "publish.oci.tar", "publish_1.2.3-rc.1.spdx.json", "publish_1.2.3-rc.1_amd64.deb",
		"publish_1.2.3-rc.1_amd64.rpm", "publish_1.2.3-rc.1_arm64.deb", "publish_1.2.3-rc.1_arm64.rpm",
		"publish_1.2.3-rc.1_linux_amd64.tar.gz", "publish_1.2.3-rc.1_linux_arm64.tar.gz"}
	if got := names(t, a.out); !slices.Equal(got, want) {
		t.Fatalf("files: %q", got)
	}
	for _, name := range want {
		one, err := os.ReadFile(filepath.Join(a.out, name))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(b.out, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s: other bytes the second time", name)
		}
	}
	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = a.out
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func debianPackage(t *testing.T, r release) {
	needs(t, "dpkg-deb")
	deb := r.path("_amd64.deb")
	list := run(t, "dpkg-deb", "--contents", deb)
	for _, want := range []string{"./usr/bin/publish", "./usr/share/man/man1/publish.1.gz", "./usr/share/man/man7/publish-oci.7.gz",
		"./usr/share/bash-completion/completions/publish", "./usr/share/zsh/vendor-completions/_publish",
		"./usr/share/fish/vendor_completions.d/publish.fish", "./usr/lib/sysusers.d/publish.conf",
		"./usr/lib/tmpfiles.d/publish.conf", "./etc/publish/default", "./usr/share/doc/publish/copyright",
		"./usr/share/doc/publish/changelog.Debian.gz", "./usr/lib/systemd/system/publish-promote@.timer",
		"./usr/lib/systemd/system/publish-prune@.service", "./usr/lib/systemd/system/publish-sync@.timer",
		"./usr/lib/systemd/system/publish-sign@.service"} {
		if !strings.Contains(list, " "+want+"\n") {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(list, "site-functions") || strings.Contains(list, "var/lib") {
		t.Errorf("has what is not for Debian, or what a removal would take away:\n%s", list)
	}
	for field, want := range map[string]string{"Version": "1.2.3~rc.1-1", "Architecture": "amd64",
		"Maintainer": r.maintainer} {
		if got := strings.TrimSpace(run(t, "dpkg-deb", "--field", deb, field)); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	to := t.TempDir()
	run(t, "dpkg-deb", "--raw-extract", deb, to)
	if data, err := os.ReadFile(filepath.Join(to, "DEBIAN/conffiles")); string(data) != "/etc/publish/default\n" {
		t.Errorf("conffiles: %q, %v", data, err)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		run(t, "sh", "-n", filepath.Join(to, "DEBIAN", script))
	}
	unit, err := os.ReadFile(filepath.Join(to, "usr/lib/systemd/system/publish-promote@.service"))
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/usr/bin/publish promote") {
		t.Errorf("%v: the unit starts another program:\n%s", err, unit)
	}
}

// Installing starts nothing, and enables nothing; removal takes no repository away.
func TestScripts(t *testing.T) {
	for _, name := range []string{"deb/postinst", "deb/prerm", "deb/postrm", "rpm/post", "rpm/preun", "rpm/postun"} {
		for line := range strings.Lines(string(text(name))) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, word := range strings.Fields(line) {
				if slices.Contains([]string{"start", "restart", "enable", "preset", "rm", "userdel", "deluser", "purge"}, word) {
					t.Errorf("%s: %s", name, line)
				}
			}
		}
	}
}

func image(t *testing.T, r release) {
	f, err := os.Open(filepath.Join(r.out, "publish.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	blobs := unpacked(t, f)
	var saved []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(blobs["manifest.json"].data, &saved); err != nil || len(saved) != 1 || len(saved[0].Layers) != 1 ||
		!slices.Equal(saved[0].RepoTags, []string{"localhost/publish:1.2.3-rc.1"}) {
		t.Fatalf("%+v, %v", saved, err)
	}
	var config v1.Image
	if err := json.Unmarshal(blobs[saved[0].Config].data, &config); err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != runtime.GOARCH || config.Config.User != "65532:65532" ||
		!slices.Equal(config.Config.Entrypoint, []string{"/usr/bin/publish"}) {
		t.Errorf("%+v", config)
	}
	plain, err := gzip.NewReader(bytes.NewReader(blobs[saved[0].Layers[0]].data))
	if err != nil {
		t.Fatal(err)
	}
	layer := unpacked(t, plain)
	if home := layer["var/lib/publish/"]; home.owner != nonroot || home.mode != 0o755 {
		t.Errorf("var/lib/publish: %+v", home)
	}
	if f := layer["usr/bin/publish"]; f.mode != 0o755 || f.owner != 0 || len(f.data) == 0 {
		t.Errorf("usr/bin/publish: mode %o", f.mode)
	}
	if !strings.Contains(string(layer["etc/passwd"].data), "publish:x:65532:65532:") {
		t.Error("etc/passwd lacks the user")
	}
	if n := bytes.Count(layer["etc/ssl/certs/ca-certificates.crt"].data, []byte("BEGIN CERTIFICATE")); n < 100 {
		t.Errorf("%d certificates", n)
	}
	needs(t, "skopeo")
	for _, arch := range architectures {
		out := run(t, "skopeo", "--override-os", "linux", "--override-arch", arch, "inspect", "--config",
			"oci-archive:"+f.Name())
		if !strings.Contains(out, `"architecture": "`+arch+`"`) {
			t.Errorf("%s: %s", arch, out)
		}
	}
}

// unpacked is what a tar archive has, by name.
func unpacked(t *testing.T, from io.Reader) map[string]file {
	t.Helper()
	out := map[string]file{}
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = file{data: data, mode: h.Mode, owner: h.Uid}
	}
}

func materials(t *testing.T, r release) {
	data, err := os.ReadFile(r.path(".spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc bill
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Packages) != 2 || doc.Packages[1].Name != "stdlib" || len(doc.Files) != 2 {
		t.Errorf("%s", data)
	}
	list := linked(&debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "example.com/a_b/v2", Version: "v2.0.1", Sum: "h1:abc="},
		{Path: "example.com/c", Version: "v0.1.0", Replace: &debug.Module{Path: "example.com/d", Version: "v0.2.0+x"}}}})
	var got []string
	for _, m := range list {
		got = append(got, m.ID+" "+m.References[0].Locator)
	}
	want := []string{"SPDXRef-go-stdlib-1.26.8 pkg:golang/stdlib@1.26.8",
		"SPDXRef-go-example.com-a-b-v2-v2.0.1 pkg:golang/example.com/a_b/v2@v2.0.1",
		"SPDXRef-go-example.com-d-v0.2.0-x pkg:golang/example.com/d@v0.2.0+x"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Every module that is linked in says how it may be used.
func TestNotices(t *testing.T) {
	notices, err := release{source: "../.."}.notices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nGo go1.", "\ngithub.com/urfave/cli/v2 v2.", "Permission is hereby granted"} {
		if !strings.Contains(notices, want) {
			t.Errorf("lacks %q", want)
		}
	}
}

func TestVersion(t *testing.T) {
	for tag, want := range map[string]bool{"v1.2.3": true, "v1.2.3-rc.1": true, "1.2.3": false, "v1.2": false, "": false,
		"v1.2.3-": false, "v1.2.3-4-gabcdef0-dirty": false, "v1.2.3 ": false} {
		if tagged.MatchString(tag) != want {
			t.Errorf("%q", tag)
		}
	}
	r := release{tag: "v1.2.3-rc.1", commit: strings.Repeat("0123456789", 4), at: time.Unix(1767225600, 0).UTC(),
		maintainer: "Somebody <somebody@example.com>"}
	want := "publish (1.2.3~rc.1-1) unstable; urgency=medium\n\n  * Release 1.2.3-rc.1 of commit 012345678901: see " +
		"changelog.gz.\n\n -- Somebody <somebody@example.com>  Thu, 01 Jan 2026 00:00:00 +0000\n"
	if got := r.debianChangelog(); got != want {
		t.Errorf("%s", got)
	}
}
