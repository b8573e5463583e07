package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/publish/stage/durable"
)

// person is a user of this machine; guide/access.md describes the kinds.
type person struct {
	t     *testing.T
	name  string
	cred  syscall.Credential
	dir   string // where the program and the repository are
	umask int
}

// persons are those that share a repository, and their place. Users need no
// name; the group needs one.
func persons(t *testing.T) (owner, builder, other *person) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be several users")
	}
	group, err := user.LookupGroup("daemon")
	if err != nil {
		t.Skip("needs a group called daemon")
	}
	gid, err := strconv.Atoi(group.Gid)
	must(t, err)
	dir, err := os.MkdirTemp("", "publish-access-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	self, err := os.Executable()
	must(t, err)
	data, err := os.ReadFile(self)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "publish"), data, 0o755)) // it is the program by this name: see TestMain
	for i, os := range []string{"debian", "alpine"} {
		must(t, writeImage(filepath.Join(dir, os), os, "1", time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)))
	}
	make := func(name string, uid uint32, groups ...uint32) *person {
		return &person{t: t, name: name, cred: syscall.Credential{Uid: uid, Gid: uid, Groups: groups}, dir: dir,
			umask: 0o022}
	}
	owner, builder, other = make("owner", 61001, uint32(gid)), make("builder", 61002, uint32(gid)), make("other", 61003)
	must(t, os.Mkdir(filepath.Join(dir, "repo"), 0o755))
	must(t, os.Chown(filepath.Join(dir, "repo"), 61001, 61001))
	return owner, builder, other
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sh runs a command as the person, in the directory that all share, and
// returns what it prints and its exit status.
func (p *person) sh(command string, args ...string) (string, int) {
	p.t.Helper()
	c := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf("umask %04o; ", p.umask) + command, "sh"},
		args...)...)
	c.Dir = p.dir
	c.Env = []string{"PATH=" + p.dir + ":" + os.Getenv("PATH"), "PUBLISH_REPO=" + filepath.Join(p.dir, "repo"),
		"PUBLISH_TEST_NOW=2026-01-10T12:00:00Z",
		"GORACE=atexit_sleep_ms=0"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &p.cred}
	out, err := c.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		p.t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// does runs a command that has to succeed.
func (p *person) does(command string) string {
	p.t.Helper()
	out, code := p.sh(command)
	if code != 0 {
		p.t.Fatalf("%s: %s: exit %d: %s", p.name, command, code, out)
	}
	return out
}

// cannot runs a command that has to fail with this text and status; 0: any.
func (p *person) cannot(code int, text, command string) {
	p.t.Helper()
	out, got := p.sh(command)
	if (got != code && code > 0) || got == 0 || !strings.Contains(out, text) {
		p.t.Errorf("%s: %s: exit %d, want %d and %q: %s", p.name, command, got, code, text, out)
	}
}

// repository makes a repository of the owner for a group, with one generation.
func (p *person) repository() {
	p.t.Helper()
	p.does("publish -q init --group daemon repo && publish -q stage add debian && publish -q promote")
}

func TestAccessOfBuilder(t *testing.T) {
	owner, builder, _ := persons(t)
	owner.repository()
	builder.does("publish -q stage add alpine && publish -q validate && publish stage list | grep -q alpine")
	for _, verb := range []string{"promote", "revert", "hold -m x", "gc", "recover", "pin 1 -m x",
		"revoke alpine:1:default:amd64 -m x"} {
		builder.cannot(1, "owner", "publish "+verb)
	}
	builder.cannot(0, "denied", "exec 3<repo/.publish/lock")
	builder.cannot(0, "denied", "exec 3<repo/.publish/prepare.lock")
	builder.does("exec 3<>repo/.publish/staging.lock")
	out := builder.does("find repo -path repo/staging -prune -o -path repo/.publish/trash -prune -o -type l -o -writable -print")
	if out != "repo/.publish/staging.lock\n" {
		t.Errorf("besides staging and trash a builder may write to: %s", out)
	}
	owner.does("publish -q promote && publish -q verify")
	builder.does("publish -q stage remove alpine:1:default:amd64 && publish -q stage reset && publish -q stage " +
		"remove alpine:1:default:amd64")
	owner.does("publish -q stage add alpine && publish -q promote")
}

// A builder may take the staging lock, and no other one. So prune tells him who may
// prune before it does anything, and what he can do.
func TestAccessOfPrune(t *testing.T) {
	owner, builder, other := persons(t)
	l := layoutMaker{dir: filepath.Join(owner.dir, "l")}
	var images []blobRef
	for _, tag := range []string{"v1", "v2"} {
		i := l.image(tag)
		i.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
		images = append(images, i)
	}
	l.write("index.json", map[string]any{"schemaVersion": 2, "manifests": images})
	l.write("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"})
	must(t, l.err)
	owner.does(`publish -q init --group daemon --format oci repo && publish -q stage add l --repository app &&
		printf 'tags: [{repository: "**", tag: ".*", keep_last: 1}]\norphan_grace: 1ns\n' >> repo/publish.yaml; echo x > repo/staging/stray`)
	const hint = "lock: open: permission denied\nhint: run it as the owner of the repository, user 61001: " +
		"sudo -u '#61001' publish ...; others can see with --dry-run what it would do\n"
	for _, who := range []*person{builder, other} {
		who.cannot(1, hint, "publish prune")
		who.cannot(1, hint, "publish prune --plan /dev/null")
		if out := who.does("publish prune --dry-run"); !strings.Contains(out, "remove  v1") {
			t.Error(out)
		}
	}
	owner.does("test ! -e repo/.publish/undo && publish -q prune")
	id := strings.TrimSpace(owner.does("ls repo/.publish/undo"))
	for _, who := range []*person{builder, other} {
		who.cannot(1, hint, "publish prune --undo "+id)
		if out := who.does("publish prune --dry-run --undo " + id); !strings.Contains(out, "would bring 1 tag back") {
			t.Error(out)
		}
	}
	owner.does("publish -q prune --undo " + id)
}

// A builder changes bytes, and records them as verified in a cache that an older
// version let him write to. The record is not believed.
func TestAccessForgedHashes(t *testing.T) {
	owner, builder, _ := persons(t)
	owner.repository()
	builder.does("publish -q stage add alpine")
	hashes := filepath.Join(owner.dir, "repo/.publish/hashes")
	must(t, os.Chown(hashes, 61001, int(builder.cred.Groups[0])))
	must(t, os.Chmod(hashes, 0o664))
	var forged bytes.Buffer
	files := strings.Fields(builder.does("find repo/staging/images -user 61002 -type f"))
	if len(files) == 0 {
		t.Fatal("the builder owns nothing in staging")
	}
	for _, f := range files {
		builder.does("chmod u+w " + f + " && printf X | dd of=" + f +
			" bs=1 seek=9 conv=notrunc 2>/dev/null && chmod 444 " + f)
		var st syscall.Stat_t
		must(t, syscall.Stat(filepath.Join(owner.dir, f), &st))
		rel := strings.TrimPrefix(f, "repo/staging/")
		sum := strings.SplitN(strings.TrimPrefix(filepath.Base(f), "."), ".", 2)[0]
		forged.Write(durable.Line(fmt.Appendf(nil, "F %s 1 %d %d %d %d %s", sum, st.Size, st.Mtim.Nano(),
			st.Ctim.Nano(), st.Ino, rel)))
	}
	must(t, os.WriteFile(filepath.Join(owner.dir, "forged"), forged.Bytes(), 0o644))
	builder.does("cat forged >> repo/.publish/hashes")
	owner.cannot(3, "hash-mismatch", "publish promote")
	owner.cannot(3, "hash-mismatch", "publish validate")
	if got := owner.does("stat -c %a repo/.publish/hashes"); got != "644\n" {
		t.Errorf("after the owner's verb the hash cache has mode %s", got)
	}
	builder.cannot(0, "denied", "cat forged >> repo/.publish/hashes")
}

// What a builder staged is his, and he can write to it at any time. None of it
// reaches a generation.
func TestAccessWriteAfterPromote(t *testing.T) {
	owner, builder, _ := persons(t)
	owner.repository()
	builder.does("publish -q stage add alpine")
	owner.does("publish -q promote && publish -q verify")
	builder.does(`find repo/staging/images -user 61002 -type f | while read f; do chmod u+w "$f" && echo changed > "$f" || exit 1; done`)
	owner.does("publish -q verify")
	if out := owner.does("grep -rl changed repo/generations || true"); out != "" {
		t.Errorf("written to: %s", out)
	}
	if out := owner.does("find repo/generations ! -user 61001"); out != "" {
		t.Errorf("not the owner's: %s", out)
	}
}

func TestAccessOfOthers(t *testing.T) {
	owner, _, other := persons(t)
	owner.umask = 0o077 // what a web server reads is readable all the same
	owner.repository()
	owner.does("publish -q stage add alpine && publish -q promote && publish -q revert")
	other.does(`for f in $(find -L repo/production -type f) repo/.publish/history repo/.publish/manifests/* \
			repo/.publish/layout; do cat "$f" >/dev/null || exit 1; done`)
	other.does("publish -q history && publish -q verify && publish -q diff")
	if out := other.does("publish status"); !strings.Contains(out,
		"unknown: this user may not ask whether somebody holds prepare, staging, production") {
		t.Errorf("status: %s", out)
	}
	if out := other.does("publish status --json"); !strings.Contains(out,
		`"locks_unknown":["prepare","staging","production"]`) {
		t.Errorf("status: %s", out)
	}
	other.does("publish status --check")
	if out := other.does("find repo ! -type l -writable"); out != "" {
		t.Errorf("another user may write to: %s", out)
	}
	for _, verb := range []string{"stage add debian", "stage remove debian:1:default:amd64", "promote", "revert",
		"recover"} {
		if out, code := other.sh("publish " + verb); code != 1 || !strings.Contains(out, "denied") {
			t.Errorf("%s: exit %d: %s", verb, code, out)
		}
	}
	for _, name := range []string{"lock", "prepare.lock", "staging.lock"} {
		other.cannot(0, "denied", "exec 3<repo/.publish/"+name)
		other.cannot(0, "denied", "exec 3>>repo/.publish/"+name)
	}
	// Every file that is served is read-only, and nothing of .publish is served.
	must(t, filepath.WalkDir(filepath.Join(owner.dir, "repo/generations"), func(path string, d fs.DirEntry,
		err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err == nil && fi.Mode().Perm()&0o222 != 0 {
			t.Errorf("%s: mode %v", path, fi.Mode())
		}
		return err
	}))
}

// Commands that root runs leave the repository to its owner.
func TestAccessOfRoot(t *testing.T) {
	owner, _, _ := persons(t)
	owner.repository()
	root := *owner
	root.name, root.cred = "root", syscall.Credential{}
	must(t, os.Chmod(filepath.Join(owner.dir, "repo/.publish/lock"), 0o644))
	must(t, os.Chown(filepath.Join(owner.dir, "repo/.publish/prepare.lock"), 0, 0))
	root.does("publish -q stage add alpine && publish -q promote && publish -q revert")
	if out := owner.does("find repo ! -user 61001"); out != "" {
		t.Errorf("not the owner's: %s", out)
	}
	if out := owner.does("stat -c %a repo/.publish/lock repo/.publish/prepare.lock repo/.publish/staging.lock"); out != "600\n600\n660\n" {
		t.Errorf("modes: %s", out)
	}
	owner.does("publish -q promote --force && publish -q verify")
}
