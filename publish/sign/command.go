package sign

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

	"aead.dev/minisign"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/clearsign"
)

// TrustedVariable is the variable of the environment that has the trusted comment, for a
// command that signs with minisign.
const TrustedVariable = "PUBLISH_TRUSTED_COMMENT"

// byCommand has a text clearsigned by a command, and makes sure that it was this text.
func (s *Signer) byCommand(ctx context.Context, text []byte) ([]byte, error) {
	argv := s.inline
	out, err := s.run(ctx, argv, text, 2*len(text)+64<<10)
	if err != nil {
		return nil, err
	}
	signed, err := clearsign.Split(out)
	if err != nil {
		return nil, fmt.Errorf("%s: what it returned %w", argv[0], err)
	}
	if !bytes.Equal(signed.Text, text[:len(text)-1]) {
		return nil, fmt.Errorf("%s: it signed another text", argv[0])
	}
	return out, nil
}

// besideByCommand has a document signed by a command, for a signature to put beside it. It makes
// sure that what comes back is one, and of these bytes.
func (s *Signer) besideByCommand(ctx context.Context, document []byte) ([]byte, error) {
	argv := s.beside
	bad := func(fact string) error {
		return &fault.Error{Path: argv[0], Fact: "what it returned " + fact,
			Hint: "a command such as [gpg, --detach-sign, --armor, --local-user, images@example.com]"}
	}
	// A clearsigned document has to fit, for an error that says what it is.
	out, err := s.run(ctx, argv, document, 2*len(document)+MaxBeside)
	if err != nil {
		return nil, err
	}
	packets, err := clearsign.SplitDetached(document, out)
	switch {
	case err != nil:
		return nil, bad(err.Error())
	case len(packets) > MaxBeside/2: // as text it has more
		return nil, bad(fmt.Sprintf("has more than %d bytes", MaxBeside/2))
	}
	var text bytes.Buffer
	err = enclose(&text, packets)
	return text.Bytes(), err
}

// minisignByCommand has data signed by a command.
func (s *Signer) minisignByCommand(ctx context.Context, data []byte, trusted string) ([]Signature, error) {
	argv := s.detached
	out, err := s.run(ctx, argv, data, maxSignature, TrustedVariable+"="+trusted)
	if err != nil {
		return nil, err
	}
	var sig minisign.Signature
	if err := sig.UnmarshalText(out); err != nil {
		return nil, fmt.Errorf("%s: what it returned is no signature of minisign", argv[0])
	}
	if sig.TrustedComment != trusted {
		return nil, fmt.Errorf("%s: the trusted comment is not the value of %s", argv[0], TrustedVariable)
	}
	return []Signature{{minisignEnd, out}}, nil
}

// run runs a command with bytes on its standard input, and returns those of its standard output.
// What it writes to its standard error is part of the error. It has its own process group, so
// that what it started ends with it: what waits for a device would keep that from the next one.
func (s *Signer) run(ctx context.Context, argv []string, input []byte, limit int, env ...string) ([]byte, error) {
	outer := ctx
	if s.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.limit)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, said := &capped{limit: limit, full: errFull}, &capped{limit: 4 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, said
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it succeeded, but what it left running, such as an agent, still has the output open
	}
	switch {
	case outer.Err() != nil:
		return nil, outer.Err()
	case out.more:
		return nil, fmt.Errorf("%s: it returned more than %d bytes", argv[0], limit)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%s: it did not end within %s", argv[0], s.limit)
	case err != nil:
		if text := strings.TrimSpace(strings.ToValidUTF8(string(said.data), "?")); text != "" {
			err = errors.New(err.Error() + ": " + text)
		}
		return nil, fmt.Errorf("%s: %w", argv[0], err)
	}
	return out.data, nil
}

// errFull ends a command that writes without end.
var errFull = errors.New("too many bytes")

// capped keeps the first bytes that are written to it.
type capped struct {
	data  []byte
	limit int
	full  error // the answer to more than limit; nil: the rest is dropped
	more  bool  // there was more
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.limit-len(c.data))
	c.data = append(c.data, p[:n]...)
	if n < len(p) {
		if c.more = true; c.full != nil {
			return n, c.full
		}
	}
	return len(p), nil
}
