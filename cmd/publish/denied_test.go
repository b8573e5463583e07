package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// immutable makes a file immutable for the rest of the test.
func immutable(t *testing.T, path string) (undo func()) {
	t.Helper()
	if out, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
		t.Skipf("chattr: %v: %s", err, out)
	}
	undo = func() { _ = exec.Command("chattr", "-i", path).Run() }
	t.Cleanup(undo)
	return undo
}

// A history that root left behind is the owner's again with the next command.
// One that cannot be written to stops a promote before its switch, not after it.
func TestHistoryCannotBeWritten(t *testing.T) {
	owner, _, _ := persons(t)
	owner.repository()
	history := filepath.Join(owner.dir, "repo/.publish/history")
	must(t, os.Chown(history, 0, 0))
	owner.does("publish -q stage add alpine && publish -q promote && publish -q revert")
	if out := owner.does("stat -c %u repo/.publish/history && publish history"); !strings.HasPrefix(out, "61001\n") ||
		strings.Count(out, "\n") < 4 {
		t.Error(out)
	}
	undo := immutable(t, history)
	before := owner.does("cat repo/production/.publish-generation")
	owner.cannot(1, "hint: chattr -i -a "+history, "publish promote --force")
	if now := owner.does("cat repo/production/.publish-generation"); now != before {
		t.Errorf("generation %s became %s", before, now)
	}
	undo()
	owner.does("publish -q promote --force")
}

// If the owner may not write to a file, the remedy names the file's owner. For any
// other user it names the repository's owner.
func TestRemedyNamesOwner(t *testing.T) {
	owner, _, other := persons(t)
	owner.repository()
	must(t, os.Chown(filepath.Join(owner.dir, "repo/.publish/lock"), 0, 0))
	owner.cannot(1, "/.publish/lock belongs to root: run the command as that user, or give it back with chown -R",
		"publish revert")
	must(t, os.Chown(filepath.Join(owner.dir, "repo/.publish/lock"), 61001, 61001))
	must(t, os.Chown(filepath.Join(owner.dir, "repo/generations"), 0, 0))
	owner.does("publish -q stage add alpine")
	owner.cannot(1, "/generations belongs to root: ", "publish promote")
	other.cannot(1, "hint: run it as the owner of the repository, user 61001: sudo -u '#61001' publish ...",
		"publish promote")
	other.cannot(1, "sudo -u '#61001' publish ...; members of the group daemon may also stage",
		"publish stage remove alpine:1:default:amd64")
	repo := filepath.Join(owner.dir, "repo")
	must(t, os.Chmod(repo, 0o700))
	for _, verb := range []string{"promote", "status", "list", "show", "config check"} {
		other.cannot(1, "hint: "+repo+" belongs to user 61001: run the command as that user", "publish "+verb)
	}
}

// A file of staging that no index names, and that cannot be deleted, stops
// neither a prune nor a promote that prunes first, nor a reset.
func TestStagingCannotBeDeleted(t *testing.T) {
	owner, _, _ := persons(t)
	owner.repository()
	owner.does(`publish -q stage add alpine; printf 'orphan_grace: 1ns\npromote: {prune: true}\n' >> repo/publish.yaml
		echo x > repo/staging/images/a.tar.xz; echo x > repo/staging/images/b.tar.xz`)
	stray := filepath.Join(owner.dir, "repo/staging/images/a.tar.xz")
	undo := immutable(t, stray)
	const later = "export PUBLISH_TEST_NOW=2026-01-11T12:00:00Z; "
	owner.does(`publish -q prune; ` + later +
		`publish -q prune && publish -q promote && test ! -e repo/staging/images/b.tar.xz`)
	if out := owner.does(later + "publish prune"); !strings.Contains(out,
		"staging/images/a.tar.xz: cannot be deleted: it is immutable (owner: user 61001)") ||
		!strings.Contains(out, "chattr -i") {
		t.Error(out)
	}
	owner.cannot(3, "leftovers: 1 thing cannot be deleted: staging/images/a.tar.xz", later+"publish status --check")
	owner.does("echo x > repo/staging/page")
	if out := owner.does(later + "publish stage reset && test ! -e repo/staging/page"); !strings.Contains(out,
		"a.tar.xz: cannot be deleted: it is immutable") {
		t.Error(out)
	}
	undo()
	owner.does(later + "publish -q prune") // its state has changed, and so its age begins anew
	owner.does("export PUBLISH_TEST_NOW=2026-01-12T12:00:00Z; publish -q prune && test ! -e " +
		"repo/staging/images/a.tar.xz && publish status --check")
}

// What a builder puts under the names of publish's own directories in staging
// stops nobody: another name is used.
func TestIncomingInTheWay(t *testing.T) {
	owner, builder, _ := persons(t)
	for _, put := range []string{
		"mkdir -m 700 .publish-incoming", "mkdir -m 755 .publish-incoming", "ln -s /etc .publish-incoming",
		"touch .publish-incoming",
		"mkdir -m 2775 .publish-incoming; mkdir -m 700 .publish-incoming/apply",
		"mkdir -m 2775 .publish-incoming; touch .publish-incoming/apply",
		"mkdir -m 2775 .publish-incoming; for i in '' -2 -3 -4 -5 -6 -7 -8; do mkdir -m 700 .publish-incoming/apply$i; done",
	} {
		must(t, os.RemoveAll(filepath.Join(owner.dir, "repo")))
		must(t, os.Mkdir(filepath.Join(owner.dir, "repo"), 0o755))
		must(t, os.Chown(filepath.Join(owner.dir, "repo"), 61001, 61001))
		owner.repository()
		owner.does("rm -rf repo/staging/.publish-incoming")
		builder.does("cd repo/staging; " + put)
		owner.does("publish -q promote && publish -q stage add alpine && publish -q promote && publish -q revert && " +
			"publish -q stage reset")
		builder.does("publish -q stage add alpine")
		owner.does("publish -q prune && publish -q revoke alpine:1:default:amd64 -m x && publish -q recover")
	}
}
