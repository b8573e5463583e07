package interop_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// Readers that hold an index for the window meet no failure and no mixture;
// those that count on a longer window do, so the program detects it.
func TestLoad(t *testing.T) {
	need(t, "nginx")
	loads(t, "requests, 0 failures, 0 mixtures", `requests, [1-9]\d* failures, 0 mixtures`)
}

// The same through publish serve, which must also show no old index after a switch.
func TestLoadServe(t *testing.T) {
	loads(t, "requests, 0 failures, 0 mixtures", `requests, [1-9]\d* failures, 0 mixtures`, "-server", "publish")
}

// Registries that resolved a tag pull by digest until the window ends.
func TestLoadLayouts(t *testing.T) {
	loads(t, "pulls, 0 failures", `pulls, [1-9]\d* failures`, "-oci")
}

// loads runs the program with a window that readers know, and with one that they take
// for longer.
func loads(t *testing.T, good, bad string, more ...string) {
	publish, err := shared.publish()
	if err != nil {
		t.Fatal(err)
	}
	load := filepath.Join(t.TempDir(), "load")
	if out, err := exec.Command("go", "build", "-o", load, "./load").CombinedOutput(); err != nil {
		t.Fatalf("build load: %v\n%s", err, out)
	}
	run := func(t *testing.T, args ...string) (string, int) {
		t.Helper()
		cmd := exec.Command(load, append([]string{"-publish", publish, "-dir", openDir(t), "-duration", "4s",
			"-readers", "12"}, append(args, more...)...)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			out, code := run(t, "-switch", mode, "-grace", "2s")
			t.Log(out)
			if code != 0 || !regexp.MustCompile(`(?m)^[1-9]\d* `+good+`$`).MatchString(out) {
				t.Errorf("exit %d", code)
			}
			out, code = run(t, "-switch", mode, "-grace", "1s", "-believe", "3s")
			if code != 1 || !regexp.MustCompile(`(?m)^\d+ `+bad+`$`).MatchString(out) {
				t.Errorf("a window that readers take for longer: exit %d\n%s", code, out)
			}
		})
	}
}
