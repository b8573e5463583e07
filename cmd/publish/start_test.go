package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// No package of ours does much when the program starts, whatever the command: what one needs, it makes
// when it first uses it. Bytes are counted, for they do not depend on the speed of a machine; a regular
// expression takes 5 to 50 kB.
func TestStart(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	name := filepath.Join(t.TempDir(), "publish") // it is the program by this name: see TestMain
	must(t, os.Symlink(self, name))
	cmd := exec.Command(name, "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	must(t, err)
	const most = 20 << 10
	lines := regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, `).FindAllStringSubmatch(string(out), -1)
	for _, m := range lines {
		n, err := strconv.Atoi(m[2])
		must(t, err)
		if ours := regexp.MustCompile(`^example\.com/publish/(publish|stage|retention)`); ours.MatchString(m[1]) && n > most {
			t.Errorf("%s allocates %d bytes when the program starts, more than %d", m[1], n, most)
		}
	}
	if len(lines) < 50 {
		t.Errorf("the runtime names only %d packages", len(lines))
	}
}
