package publish

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// slow takes nothing before ready is closed.
type slow struct {
	bytes.Buffer
	ready chan struct{}
}

func (s *slow) Write(b []byte) (int, error) {
	<-s.ready
	return s.Buffer.Write(b)
}

// All that a command printed is there, however long after its end that is read;
// a child that has the output open as long as it lives is not waited for.
func TestCaptureOnASlowMachine(t *testing.T) {
	for name, script := range map[string]string{
		"alone":        `seq 5000`,
		"with a child": `exec 3<&0; cat <&3 & seq 5000`,
		"silent":       `exec 3<&0; cat <&3 &`,
	} {
		t.Run(name, func(t *testing.T) {
			read, write, err := os.Pipe()
			must(t, err)
			defer write.Close() // the child ends with this test
			defer read.Close()
			cmd := exec.Command("sh", "-c", script)
			cmd.Stdin = read
			out := &slow{ready: make(chan struct{})}
			finish, err := capture(cmd, out)
			must(t, err)
			must(t, cmd.Run())
			close(out.ready)
			finish()
			want := 0
			if strings.Contains(script, "seq") {
				want = 5000
			}
			if n := bytes.Count(out.Bytes(), []byte("\n")); n != want || want > 0 && !strings.HasSuffix(out.String(), "\n5000\n") {
				t.Errorf("%d lines of %d", n, want)
			}
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

// A command does not block on an output that takes no more.
func TestCaptureOfABrokenOutput(t *testing.T) {
	cmd := exec.Command("sh", "-c", "seq 100000")
	finish, err := capture(cmd, broken{})
	must(t, err)
	must(t, cmd.Run())
	finish()
}

// What cannot be started has printed nothing.
func TestCaptureOfNothing(t *testing.T) {
	cmd := exec.Command("/no/such/command")
	out := &bytes.Buffer{}
	finish, err := capture(cmd, out)
	must(t, err)
	if err := cmd.Run(); err == nil {
		t.Error("it ran")
	}
	finish()
	if out.Len() > 0 {
		t.Errorf("%q", out)
	}
}
