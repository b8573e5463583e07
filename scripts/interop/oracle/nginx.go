package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Nginx is a real web server with a configuration of its own.
type Nginx struct {
	URL    string
	cmd    *exec.Cmd
	log    bytes.Buffer
	access string
}

// StartNginx serves root, a path that may be a link, on a free port. dir holds
// its configuration and temporary files. Started by root, its workers run as
// nobody: what they serve must be readable by others. It opens every file anew
// for each request.
func StartNginx(dir, root string) (*Nginx, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()
	user := ""
	if os.Geteuid() == 0 {
		user = "user nobody nogroup;"
	}
	config := fmt.Sprintf(`daemon off;
%s
worker_processes 2;
pid %[2]s/nginx.pid;
error_log stderr warn;
events { worker_connections 1000; }
http {
	log_format answer '$status $request_method $uri';
	access_log %[2]s/access.log answer;
	keepalive_timeout 10s; # the Incus library leaves a connection behind for each download
	log_not_found off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	open_file_cache off;
	sendfile on;
	server {
		listen %[3]s;
		root %[4]s;
	}
}
`, user, dir, address, root)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			return nil, err
		}
	}
	n := &Nginx{URL: "http://" + address, access: filepath.Join(dir, "access.log")}
	n.cmd = exec.Command(program, "-e", "stderr", "-p", dir, "-c", file)
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(5 * time.Minute) // for one that hangs, not for a slow machine
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return n, conn.Close()
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("nginx does not answer: %w", err), n.Stop())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Address implements [Server].
func (n *Nginx) Address() string { return n.URL }

// Stop ends it; the error carries what it logged, which should be nothing.
func (n *Nginx) Stop() error {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	err := n.cmd.Wait()
	if n.log.Len() > 0 {
		err = errors.Join(err, errors.New(n.log.String()))
	}
	return err
}

// Answers counts what it has answered, and returns the lines of its log about
// answers that a client cannot use: status, method and path. It logs an answer
// after it was given; so after Stop the numbers are right.
func (n *Nginx) Answers() (total int, bad []string, err error) {
	data, err := os.ReadFile(n.access)
	for line := range strings.Lines(string(data)) {
		if total++; line >= "4" {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	return total, bad, err
}
