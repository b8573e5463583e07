package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Command returns a receiver that is run for each notice, in a directory: it has the notice
// on its standard input, on one line, and exit status 0 means that it arrived. After Timeout
// it is killed, with its children.
func Command(name, dir string, argv, events []string) *Receiver {
	return receiver(name, events, func(ctx context.Context, m Message) error { return run(ctx, dir, argv, m) },
		append([]string{"command"}, argv...)...)
}

func run(ctx context.Context, dir string, argv []string, m Message) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(append(bytes.Clone(m.Body), '\n'))
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "PUBLISH_REPO="+dir, "PUBLISH_EVENT="+m.Event, "PUBLISH_DELIVERY="+m.ID)
	// A process group of its own: an interrupt from the terminal does not reach it, and the
	// end of its time reaches its children.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	exit := new(exec.ExitError)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it ended well, and a child has its output open
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("did not end within %s", Timeout)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		if line := out.line(); line != "" {
			return refused{fmt.Errorf("%w: %s", err, line)}
		}
		return refused{err}
	}
	return err
}

// tail keeps the end of what a command prints.
type tail struct{ text []byte }

// maxTail is how much of it, in bytes.
const maxTail = 1 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p[max(0, len(p)-maxTail):]...)
	t.text = t.text[max(0, len(t.text)-maxTail):]
	return len(p), nil
}

// line returns the last line, without what a terminal would take for a command.
func (t *tail) line() string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(t.text), "?")), "\n")
	last := []rune(lines[len(lines)-1])
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(last[:min(len(last), 200)]))
}
