// Package prometheus holds sample alert rules. Its test holds them against
// promtool, where that is to be had: its package brings a whole server, so
// that CI does not ask for it.
package prometheus

import (
	"os/exec"
	"testing"
)

func TestRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip(err)
	}
	for _, args := range [][]string{{"check", "rules", "publish.rules.yml"},
		{"test", "rules", "publish.rules.test.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
