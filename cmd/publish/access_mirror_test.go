package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A builder of the group cannot write the queue, but reads all of it, and asks by files,
// which the owner's runner takes and answers. Others of the machine only read.
func TestAccessOfMirror(t *testing.T) {
	owner, builder, other := persons(t)
	owner.does("publish -q init --format oci --group daemon repo")
	config := `format: oci
mirror:
  allow: ["hub.example.com/**"]
  retry: {times: 1}
  registries: {hub.example.com: {endpoints: ["http://127.0.0.1:1"]}}
  requests: {directory: requests}
`
	must(t, os.WriteFile(filepath.Join(owner.dir, "repo/publish.yaml"), []byte(config), 0o644))
	dir := filepath.Join(owner.dir, "repo/requests")
	for n := range 2 { // before the queue is there, and after
		builder.cannot(6, "hint: put a request file into "+dir, "publish mirror add hub.example.com/app:v1")
		other.cannot(6, "only the owner of the repository adds to the queue", "publish mirror add hub.example.com/app:v1")
		if n == 0 {
			owner.does("publish mirror add hub.example.com/first:v1")
			owner.cannot(1, "1 job failed", "publish mirror run --once")
		}
	}
	for verb, what := range map[string]string{"cancel $id": "cancels jobs", "retry $id": "tries jobs again",
		"run --once": "runs jobs"} {
		builder.cannot(6, "only the owner of the repository "+what,
			"id=$(publish mirror list --json | sed 's/.*\"id\":\"\\([a-z0-9]*\\).*/\\1/'); publish mirror "+verb)
	}
	if out := owner.does("stat -c '%A %G' repo/requests repo/requests/answers"); !strings.HasPrefix(out,
		"drwxrwsr-x daemon\ndrwxr-") {
		t.Error(out)
	}
	builder.does("printf 'reference: hub.example.com/app:v1\\n' > repo/requests/ask.tmp && " +
		"mv repo/requests/ask.tmp repo/requests/ask")
	other.cannot(0, "denied", "echo reference: hub.example.com/app:v1 > repo/requests/other")
	owner.cannot(1, "1 job failed", "publish mirror run --once")
	builder.does("test ! -e repo/requests/ask && grep -q '\"class\":\"unreachable\"' repo/requests/answers/ask.json")
	for _, p := range []*person{builder, other} {
		p.does("cat repo/requests/answers/ask.json && publish mirror list | grep -q first && publish mirror status && " +
			"publish mirror history >/dev/null")
		p.cannot(5, "is not published", "publish mirror address hub.example.com/app:v1")
		p.cannot(1, "did not succeed", "publish mirror watch $(publish mirror list --json | head -1 | cut -d'\"' -f4)")
	}
	if out := owner.does("publish mirror status $(sed 's/.*\"id\":\"\\([a-z0-9]*\\)\".*/\\1/' " +
		"repo/requests/answers/ask.json)"); !strings.Contains(out, "user 61002") {
		t.Errorf("who asked is not noted: %s", out)
	}
	// A file that the owner cannot read, or whose name he cannot remove, holds up nothing.
	builder.does("echo x > repo/requests/closed && chmod 0 repo/requests/closed")
	must(t, os.Chmod(dir, 0o775|os.ModeSticky|os.ModeSetgid))
	must(t, os.Chown(dir, 61002, -1))
	builder.does("printf 'reference: hub.example.com/more:v1\\n' > repo/requests/more")
	owner.cannot(1, "requests: \"closed\": cannot be read, and stays", "publish mirror run --once")
	builder.does("grep -q '\"class\":\"unreachable\"' repo/requests/answers/more.json")
	before := owner.does("publish mirror history | wc -l")
	if out := owner.does("publish mirror run --once 2>&1"); !strings.Contains(out,
		`requests: "more": is answered, and cannot be removed: `) {
		t.Error(out)
	}
	if now := owner.does("publish mirror history | wc -l"); now != before {
		t.Errorf("the history has %s lines, then %s", before, now)
	}
}
