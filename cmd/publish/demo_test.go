package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The commands that the demo shows can be pasted: the shell reads in each what
// the demo ran.
func TestDemoCommandsCanBePasted(t *testing.T) {
	const script = `eval "$(sed -n '/^quoted() {/,/^}/p; /^step() {/,/^}/p' ../../scripts/demo)"
step printf '<%s>' promote -m 'the first image' "it's" '' '$HOME; *'`
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, shown, _ := strings.Cut(string(out), "$ ")
	line, printed, _ := strings.Cut(shown, "\n")
	if want := "<promote><-m><the first image><it's><><$HOME; *>"; printed != want {
		t.Fatalf("the demo ran %q, want %q", printed, want)
	}
	again, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil || string(again) != printed {
		t.Errorf("pasted, %q prints %q, want %q (%v)", line, again, printed, err)
	}
}
