package oracle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Server is a web server over production.
type Server interface {
	// Address is its URL.
	Address() string
	// Stop ends it; the error carries what it logged, which should be nothing.
	Stop() error
	// Answers counts what it has answered, and returns the lines of its log about
	// answers that a client cannot use. After Stop the numbers are right.
	Answers() (total int, bad []string, err error)
}

// Publish is publish serve.
type Publish struct {
	url    string
	cmd    *exec.Cmd
	log    bytes.Buffer
	access string
}

// StartPublish serves the production of a repository on a free port. dir holds its log.
func StartPublish(program, repo, dir string, more ...string) (*Publish, error) {
	p := &Publish{access: filepath.Join(dir, "access.log")}
	p.cmd = exec.Command(program, append([]string{"--repo", repo, "-q", "serve", "--listen", "http://127.0.0.1:0",
		"--admin", "off", "--access-log", p.access}, more...)...)
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if p.url = strings.TrimSpace(line); err != nil {
		return nil, errors.Join(fmt.Errorf("publish serve: %w", err), p.Stop())
	}
	return p, nil
}

// Address implements [Server].
func (p *Publish) Address() string { return p.url }

// Stop implements [Server].
func (p *Publish) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := p.cmd.Wait()
	if p.log.Len() > 0 {
		err = errors.Join(err, errors.New(p.log.String()))
	}
	return err
}

// Answers implements [Server].
func (p *Publish) Answers() (total int, bad []string, err error) {
	data, err := os.ReadFile(p.access)
	for line := range strings.Lines(string(data)) {
		var answer struct{ Status int }
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			return total, bad, fmt.Errorf("%s: %w", line, err)
		}
		if total++; answer.Status >= 400 {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	return total, bad, err
}
