package interop_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/publish/scripts/interop/layout"
)

// Clients pull from publish serve: by tag, by digest, and by the digest of an image that
// a switch took away from its tag.

// pulling is a repository with a server before it, and what it served first.
type pulling struct {
	*repo
	from   source
	server *registry
	host   string
}

func newPulling(t *testing.T) *pulling {
	t.Helper()
	p := &pulling{repo: newImages(t, "rename")}
	p.from = p.replace("pulled")
	p.server = servePublish(t, p.repo)
	p.host = strings.TrimPrefix(p.server.url, "http://")
	return p
}

// replace stages images that say a text in place of all others, and promotes them.
func (p *pulling) replace(text string) source {
	p.t.Helper()
	from := newSource(p.t, text)
	err := errors.Join(os.RemoveAll(p.staging(repository)), os.CopyFS(p.staging(repository), os.DirFS(from.dir)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.run("promote")
	return from
}

func TestRegistryForSkopeo(t *testing.T) {
	need(t, "skopeo")
	p := newPulling(t)
	pull := func(reference, want string) {
		t.Helper()
		dir := t.TempDir()
		command(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+p.host+"/"+reference, "dir:"+dir)
		data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil || digestOf(string(data)) != want {
			t.Errorf("%s: %v, %s", reference, err, digestOf(string(data)))
		}
	}
	pull(repository+":v1", p.from.v1)
	pull("acme/app:one", p.from.one) // docker.io is the default
	pull(repository+"@"+p.from.platform, p.from.platform)
	tags := command(t, "skopeo", "list-tags", "--tls-verify=false", "docker://"+p.host+"/"+repository)
	if !strings.Contains(tags, `"one"`) {
		t.Error(tags)
	}
	p.replace("newer")
	pull(repository+"@"+p.from.v1, p.from.v1)
	// As podman and skopeo are told of a mirror.
	conf := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(conf, []byte("[[registry]]\nprefix = \"docker.io\"\nlocation = \""+p.host+
		"/docker.io\"\ninsecure = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := command(t, "skopeo", "--registries-conf", conf, "inspect", "--raw", "docker://"+repository+"@"+p.from.one)
	if digestOf(out) != p.from.one {
		t.Errorf("by a mirror: %s", digestOf(out))
	}
}

func TestRegistryForOras(t *testing.T) {
	found(t, "oras")
	p := newPulling(t)
	v1 := strings.TrimSpace(command(t, "oras", "resolve", "--plain-http", p.host+"/"+repository+":v1"))
	if v1 != p.from.v1 {
		t.Errorf("v1 is %s, was %s", v1, p.from.v1)
	}
	command(t, "oras", "repo", "ls", "--plain-http", p.host)
	command(t, "oras", "repo", "tags", "--plain-http", p.host+"/"+repository)
	command(t, "oras", "discover", "--plain-http", p.host+"/"+repository+":v1")
	to := filepath.Join(t.TempDir(), "layout")
	command(t, "oras", "copy", "--recursive", "--from-plain-http", "--to-oci-layout", p.host+"/"+repository+":v1",
		to+":v1")
	if got := tagged(t, to, "v1"); got != p.from.v1 {
		t.Errorf("v1 is %s, was %s", got, p.from.v1)
	}
	p.replace("newer")
	command(t, "oras", "manifest", "fetch", "--plain-http", p.host+"/"+repository+"@"+p.from.v1)
}

func TestRegistryForRegctl(t *testing.T) {
	found(t, "regctl")
	t.Setenv("REGCTL_CONFIG", filepath.Join(t.TempDir(), "config.json"))
	p := newPulling(t)
	command(t, "regctl", "registry", "set", "--tls=disabled", p.host)
	name := p.host + "/" + repository
	head := func(reference string) string {
		return strings.TrimSpace(command(t, "regctl", "manifest", "head", reference))
	}
	if got := head(name + ":v1"); got != p.from.v1 {
		t.Errorf("v1 is %s, was %s", got, p.from.v1)
	}
	if got := command(t, "regctl", "repo", "ls", p.host); strings.TrimSpace(got) != repository {
		t.Errorf("the repositories are %q", got)
	}
	if got := strings.Fields(command(t, "regctl", "tag", "ls", name)); !slices.Contains(got, "one") {
		t.Errorf("the tags are %q", got)
	}
	to := "ocidir://" + filepath.Join(t.TempDir(), "layout")
	command(t, "regctl", "image", "copy", "--referrers", name+":v1", to+":v1")
	if got := head(to + ":v1"); got != p.from.v1 {
		t.Errorf("the copy of v1 is %s, was %s", got, p.from.v1)
	}
	p.replace("newer")
	command(t, "regctl", "image", "copy", name+"@"+p.from.v1, to+":old")
}

func TestRegistryForPodman(t *testing.T) {
	ownPodman(t)
	p := newPulling(t)
	pull := func(reference string) string {
		t.Helper()
		return strings.TrimSpace(command(t, "podman", "pull", "-q", "--tls-verify=false", p.host+"/"+reference))
	}
	if id := pull(repository + ":one"); "sha256:"+id != p.from.config {
		t.Errorf("it is %s in the engine; its config is %s", id, p.from.config)
	}
	pull(repository + ":v1")
	p.replace("newer")
	pull(repository + "@" + p.from.one)
	pull(repository + "@" + p.from.v1)
}

func TestRegistryForDocker(t *testing.T) {
	asRoot(t)
	found(t, "dockerd", "docker", "containerd", "runc")
	p := newPulling(t)
	docker := startDocker(t)
	docker("pull", p.host+"/"+repository+":one")
	if id := strings.TrimSpace(docker("image", "inspect", "-f", "{{.Id}}", p.host+"/"+repository+":one")); id !=
		p.from.config {
		t.Errorf("it is %s in the engine; its config is %s", id, p.from.config)
	}
	docker("pull", p.host+"/"+repository+":v1")
	p.replace("newer")
	docker("pull", p.host+"/"+repository+"@"+p.from.one)
	docker("pull", p.host+"/"+repository+"@"+p.from.v1)
}

func TestRegistryForContainerd(t *testing.T) {
	asRoot(t)
	found(t, "containerd", "ctr")
	p := newPulling(t)
	ctr := startContainerd(t)
	digest := func(name string) string {
		for l := range strings.Lines(ctr("image", "ls")) {
			if f := strings.Fields(l); f[0] == name {
				return f[2]
			}
		}
		return ""
	}
	pull := func(name, want string, more ...string) {
		t.Helper()
		ctr(append(append([]string{"image", "pull", "--snapshotter", "native"}, more...), name)...)
		if got := digest(name); got != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	pull(p.host+"/"+repository+":v1", p.from.v1, "--plain-http", "--platform", machine)
	pull(p.host+"/"+repository+":one", p.from.one, "--plain-http")
	// As a mirror: the name has no registry, and the query has it.
	hosts := t.TempDir()
	dir := filepath.Join(hosts, "docker.io")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte("server = \""+p.server.url+"\"\n[host.\""+
		p.server.url+"\"]\n  capabilities = [\"pull\", \"resolve\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pull(repository+":one", p.from.one, "--hosts-dir", hosts)
	p.replace("newer")
	pull(p.host+"/"+repository+"@"+p.from.one, p.from.one, "--plain-http")
}

// The pull part of the specification's own suite. It ends badly when it writes its files,
// so what it prints counts. It looks for no digest header of what it did not push itself.
func TestRegistryForConformance(t *testing.T) {
	found(t, "conformance")
	r := newImages(t, "symlink")
	l := &layout.Dir{Path: r.staging(repository)}
	one := l.Image("one", machine, nil, nil)
	l.Tag(one, "one")
	l.Tag(l.List(l.Image("a", machine, nil, nil), l.Image("b", "linux/s390x", nil, nil)), "v1")
	refers := l.Image("refers", machine, nil, map[string]any{"subject": one, "artifactType": "application/vnd.example"})
	l.Tag(refers, "")
	if err := l.Write(); err != nil {
		t.Fatal(err)
	}
	blob := ""
	if err := filepath.WalkDir(filepath.Join(l.Path, "blobs"), func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			blob = "sha256:" + filepath.Base(p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r.run("promote")
	server := servePublish(t, r)
	cmd := exec.Command("conformance")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "OCI_REGISTRY="+strings.TrimPrefix(server.url, "http://"), "OCI_TLS=disabled",
		"OCI_REPO1="+repository, "OCI_REPO2="+repository, "OCI_VERSION=1.1", "OCI_API_PUSH=false",
		"OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
		"OCI_API_BLOBS_MOUNT_ANONYMOUS=false", "OCI_RO_DATA_TAGS=one v1",
		"OCI_RO_DATA_MANIFESTS="+one.Digest+" "+refers.Digest, "OCI_RO_DATA_BLOBS="+blob, "OCI_RO_DATA_REFERRERS="+one.Digest)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	passed := 0
	for line := range strings.Lines(out.String()) {
		switch _, result, _ := strings.Cut(strings.TrimSpace(line), ": "); {
		case !strings.HasPrefix(strings.TrimSpace(line), "OCI Conformance Test"):
		case result == "Pass":
			passed++
		case result != "Disabled" && result != "Skip":
			t.Error(strings.TrimSpace(line))
		}
	}
	if passed < 20 || t.Failed() {
		t.Errorf("%d tests passed, want 20 or more; %v\n%s", passed, err, out.Bytes())
	}
	for _, path := range []string{"manifests/one", "manifests/" + one.Digest, "blobs/" + one.Digest} {
		resp, err := http.Head(server.url + "/v2/" + repository + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Docker-Content-Digest"); got != one.Digest {
			t.Errorf("%s: the digest is %q", path, got)
		}
	}
}
