package stage

import (
	"os/exec"
	"strconv"
	"testing"
)

// A process is known to have ended also while its parent has not asked how; of
// one in another container, or of none, nothing is known.
func TestEnded(t *testing.T) {
	if Ended(Self()) || Ended(Self()+".suffix") {
		t.Error("this one has ended")
	}
	for _, self := range []string{"", "x", "other-host.1.2.3", here(), here() + "x.1", here() + "-1.1"} {
		if Ended(self) {
			t.Errorf("%q has ended", self)
		}
	}
	c := exec.Command("sh", "-c", "exec cat")
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	self := here() + strconv.Itoa(c.Process.Pid) + "." + started(c.Process.Pid)
	if Ended(self) {
		t.Error("a process that waits has ended")
	}
	must(t, in.Close())
	_, _ = out.Read(make([]byte, 1))
	must(t, c.Wait())
	if !Ended(self) {
		t.Error("a process that is gone runs")
	}
	if !Ended(here() + strconv.Itoa(c.Process.Pid) + ".1") {
		t.Error("a process with another start is the one that had its number")
	}
}
