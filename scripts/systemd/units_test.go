// Package systemd holds units for timers. Its tests hold them against the
// machine's systemd, without running it.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// units copies the units to a directory of their own, with a program that is
// there in the place of publish, and returns the paths.
func units(t *testing.T) []string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	names, err := filepath.Glob("*@.*")
	if err != nil || len(names) != 16 {
		t.Fatalf("units: %v, %v", names, err)
	}
	dir := t.TempDir()
	var out []string
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "/usr/local/bin/publish ", "/bin/true ")
		out = append(out, filepath.Join(dir, name))
		if err := os.WriteFile(out[len(out)-1], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestUnitsAreSound(t *testing.T) {
	args := []string{"verify", "--man=no", "--recursive-errors=no"}
	for _, u := range units(t) {
		// An instance, as an operator has it.
		args = append(args, strings.Replace(u, "@.", "@srv-images.", 1))
	}
	if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// No more than this many tenths of what systemd can take away is left: 2.0 of 10.
func TestServicesAreHardened(t *testing.T) {
	for _, u := range units(t) {
		if !strings.HasSuffix(u, ".service") {
			continue
		}
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
			u).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(u), err, out)
		}
	}
}

// Instances of a service share no directory: systemd removes that of one that stops.
func TestInstancesShareNoDirectory(t *testing.T) {
	names, err := filepath.Glob("*@.service")
	if err != nil {
		t.Fatal(err)
	}
	directory := regexp.MustCompile(`(?m)^(Runtime|Logs|State|Cache)Directory=.*$`)
	found := 0
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range directory.FindAllString(string(data), -1) {
			if found++; !strings.HasSuffix(line, "/%i") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
	if found == 0 {
		t.Error("no service has a directory")
	}
}

// Every unit of one kind has the same guards, but for those that it says.
func TestServicesAgree(t *testing.T) {
	guard := regexp.MustCompile(`(?m)^[A-Z]\w+=.*$`)
	guards := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(data), "\nProtectSystem=")
		return strings.Join(guard.FindAllString(text, -1), "\n")
	}
	p := guards("publish-promote@.service")
	for _, other := range []string{"publish-gc@.service", "publish-mirror@.service", "publish-prune@.service",
		"publish-sync@.service", "publish-sign@.service"} {
		g := strings.TrimSuffix(guards(other), "\nWantedBy=multi-user.target")
		if p != g || len(p) < 500 {
			t.Errorf("promote:\n%s\n%s:\n%s", p, other, g)
		}
	}
}

// What a mirror warns of is in the journal: nobody else sees it.
func TestMirrorWarns(t *testing.T) {
	data, err := os.ReadFile("publish-mirror@.service")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "\nExecStart=/usr/local/bin/publish mirror run\n") {
		t.Error("ExecStart has another command, or --quiet")
	}
}

// Units run what every system has: a bare Debian has no /bin/kill.
func TestUnitsNeedNothing(t *testing.T) {
	names, err := filepath.Glob("*@.service")
	if err != nil {
		t.Fatal(err)
	}
	exec := regexp.MustCompile(`(?m)^Exec\w+=(\S+)`)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range exec.FindAllStringSubmatch(string(data), -1) {
			if m[1] != "/usr/local/bin/publish" && m[1] != "/bin/sh" {
				t.Errorf("%s runs %s", name, m[1])
			}
		}
	}
}
