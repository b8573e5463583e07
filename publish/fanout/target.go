package fanout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish"
)

// Target is a place that follows production.
type Target interface {
	// Sync brings the target to what lead has. The result is never nil. The error is of kind
	// Switched if the target has a new generation, and something after that failed.
	Sync(ctx context.Context, lead *publish.Lead, setup publish.Setup, progress Progress) (*Outcome, error)
}

// repository is a target that is a repository: of this machine, or behind ssh.
type repository struct {
	name string
	at   publish.Address
	host Host
}

// New returns the target with this name and address. host opens one that is on this
// machine.
func New(name string, at publish.Address, host Host) Target { return &repository{name, at, host} }

func (t *repository) Sync(ctx context.Context, lead *publish.Lead, setup publish.Setup, progress Progress) (
	*Outcome, error) {
	if t.at.Host == "" {
		return t.here(ctx, lead, setup, progress)
	}
	return t.there(ctx, lead, setup, progress)
}

// here runs both ends in this process.
func (t *repository) here(ctx context.Context, lead *publish.Lead, setup publish.Setup, progress Progress) (
	*Outcome, error) {
	fromLeader, toTarget := io.Pipe()
	fromTarget, toLeader := io.Pipe()
	served := make(chan error, 1)
	go func() {
		var near near
		if !lead.View.Sparse {
			near = lead.View.Open
		}
		err := serve(ctx, fromLeader, toLeader, t.at.Dir, t.host, near)
		_ = fromLeader.Close()
		_ = toLeader.Close()
		served <- err
	}()
	did, err := Send(ctx, fromTarget, toTarget, lead, t.name, setup, progress)
	_ = fromTarget.Close() // a target that has more to say stops
	if own := <-served; own != nil && err != nil && ctx.Err() == nil {
		// The same error as it came over the line, and whole: with its path and its cause.
		if e := new(publish.Error); errors.As(own, &e) {
			err = own
		}
	}
	return did, err
}

// How long ssh may be silent before the line counts as cut: longer than any pause of a
// network that comes back, and far shorter than a timer that runs again.
const (
	connectTimeout = 30 * time.Second
	aliveInterval  = 15 * time.Second
	aliveCount     = 4
)

// command is the call of ssh. It never asks: nobody is there to answer. A host and a user
// cannot begin with -, and the directory is quoted for the shell there.
func command(ctx context.Context, at publish.Address) *exec.Cmd {
	args := []string{"-T", "-oBatchMode=yes", "-oConnectTimeout=" + seconds(connectTimeout),
		"-oServerAliveInterval=" + seconds(aliveInterval), "-oServerAliveCountMax=" + strconv.Itoa(aliveCount)}
	if at.Port != 0 {
		args = append(args, "-p", strconv.Itoa(at.Port))
	}
	if at.User != "" {
		args = append(args, "-l", at.User)
	}
	args = append(args, "--", at.Host, "exec publish receive '"+strings.ReplaceAll(at.Dir, "'", `'\''`)+"'")
	c := exec.CommandContext(ctx, "ssh", args...)
	c.WaitDelay = 5 * time.Second // for what it started to let go of the pipes
	return c
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// there runs publish receive on the other machine.
func (t *repository) there(ctx context.Context, lead *publish.Lead, setup publish.Setup, progress Progress) (
	*Outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := command(ctx, t.at)
	var said tail
	c.Stderr = &said
	in, err := c.StdoutPipe()
	if err != nil {
		return &Outcome{}, err
	}
	out, err := c.StdinPipe()
	if err != nil {
		return &Outcome{}, err
	}
	if err := c.Start(); err != nil {
		return &Outcome{}, &publish.Error{Fact: "ssh cannot be started", Err: err,
			Hint: "install the client of OpenSSH"}
	}
	did, err := Send(ctx, in, out, lead, t.name, setup, progress)
	var answered *publish.Error
	known := errors.As(err, &answered) && answered.Err == nil // the target itself said it
	if err != nil && !known {
		// What was cut has no more to say; what does not understand may never end.
		_ = in.Close()
	}
	ended := c.Wait()
	if err == nil || known || ctx.Err() != nil {
		return did, err
	}
	fact := "ssh to " + net.JoinHostPort(t.at.Host, cmpPort(t.at.Port))
	if code := new(exec.ExitError); errors.As(ended, &code) {
		fact += fmt.Sprintf(" ended with %d", code.ExitCode())
	}
	if text := said.String(); text != "" {
		fact += ", and said: " + text
	}
	hint := "ssh " + t.at.Host + " publish version must work without a question"
	if e := new(publish.Error); errors.As(err, &e) && e.Hint != "" {
		hint = e.Hint
	}
	return did, &publish.Error{Fact: fact, Err: err, Hint: hint}
}

func cmpPort(port int) string {
	if port == 0 {
		return "22"
	}
	return strconv.Itoa(port)
}

// tail keeps the end of what ssh, and the other machine, say for people.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// maxTail bounds it, in bytes.
const maxTail = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if n := len(t.text) - maxTail; n > 0 {
		t.text = bytes.Clone(t.text[n:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return clip(strings.Join(strings.Fields(string(t.text)), " "))
}
