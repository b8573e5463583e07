package interop_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/publish/scripts/interop/fixture"
	"example.com/publish/scripts/interop/oracle"
)

// store is a versitygw with the bucket images, in which the world may read all but
// _publish/. Its URL is that of the bucket.
func store(t *testing.T) string {
	t.Helper()
	need(t, "curl")
	program, err := filepath.Abs("../../bin/versitygw")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Skip("versitygw is not built: make store")
	}
	dir, err := os.MkdirTemp("", "versitygw") // t.TempDir has a name too long for some xattrs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"root/images", "sidecar"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const key, secret = "publish", "not-a-secret"
	// The shell ends it when this process is gone, however that ends.
	cmd := exec.Command("sh", "-c", `"$@" & trap 'kill $!' EXIT; read end`, "sh", program, "--port", address, "--access",
		key, "--secret", secret, "--quiet", "posix", "--sidecar", dir+"/sidecar", dir+"/root")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = stdin.Close(); <-ended })
	for {
		resp, err := http.Get("http://" + address + "/")
		if err == nil {
			_ = resp.Body.Close()
			break
		}
		select {
		case <-ended:
			t.Fatal("versitygw ended at once")
		case <-t.Context().Done():
			t.Fatal("versitygw does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret,
		"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://" + address, "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(name, value)
	}
	url := "http://" + address + "/images"
	const policy = `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::images/*"},
		{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::images/prod/_publish/*"}]}`
	command(t, "curl", "-sSf", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", key+":"+secret, "-X", "PUT", "-d", policy,
		"-H", fmt.Sprintf("x-amz-content-sha256: %x", sha256.Sum256([]byte(policy))), url+"?policy=")
	return url
}

// The Incus client lists, resolves and downloads what two machines promoted to a bucket,
// with fresh documents and with those that it kept.
func TestBucketForIncus(t *testing.T) {
	need(t, "mksquashfs", "xz")
	program, err := shared.publish()
	if err != nil {
		t.Fatal(err)
	}
	url := store(t)
	server := url + "/prod"
	var machines []*repo
	for i := range 2 {
		r := &repo{t: t, dir: filepath.Join(openDir(t), fmt.Sprint("machine", i)), program: program, umask: "022"}
		machines = append(machines, r)
	}
	images := fixture.Numbered(4)
	a, b := machines[0], machines[1]
	a.runIn("", 0, "init", "--production", "s3://images/prod", a.dir)
	a.split(images[0], "--alias", "sample")
	a.run("promote")
	want := a.staged()
	offers(t, server, want)
	aliases, err := connect(t, server).Aliases()
	if err != nil || len(aliases["sample"]) != 2 {
		t.Errorf("aliases %v: %v", aliases, err)
	}
	resp, err := http.Get(server + "/_publish/repository.json")
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
		t.Errorf("the records are open to the world: %s", resp.Status)
	}

	b.runIn("", 0, "init", "--production", "s3://images/prod", b.dir)
	old := []*oracle.Incus{}
	snapshots := []*oracle.Snapshot{}
	var offered []map[string][]string
	remember := func() {
		client := connect(t, server)
		if _, err := client.Images(); err != nil {
			t.Fatal(err)
		}
		old, snapshots, offered = append(old, client), append(snapshots, take(t, server)), append(offered, want)
	}
	ask := func(when string) {
		t.Helper()
		offers(t, server, want)
		for i, client := range old {
			if err := snapshots[i].Fetch(t.Context(), http.DefaultClient); err != nil {
				t.Errorf("%s: an index of old: %v", when, err)
			}
			got, err := client.DownloadAll()
			if err != nil || !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(offered[i]))) {
				t.Errorf("%s: a client of old, %d images, want %d: %v", when, len(got), len(offered[i]), err)
			}
		}
	}
	remember()
	b.split(images[1])
	during(t, server, func() { b.run("promote") })
	want = b.staged()
	ask("after a promote")
	remember()
	a.container(images[2])
	a.run("stage", "remove", images[0].Product())
	during(t, server, func() { a.run("promote") })
	want = a.staged()
	ask("after a promote that removes")
	before := offered[1]
	remember()
	during(t, server, func() { b.run("revert") })
	want = before
	ask("after a revert")
	b.run("gc")
	ask("after a gc")
}
