//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a web server that runs while it is measured.
type server struct {
	name    string
	missing string // why it cannot take part; "": it can
	// begin returns the process, and the addresses for HTTP and for TLS.
	begin func() (*exec.Cmd, string, string, error)
}

// serving is an experiment whose contenders are servers that do the same work: the time of
// the processor is theirs alone.
func (b *bench) serving(ctx context.Context, name string, size int, a asking, servers ...server) error {
	if !b.wants(name, size) {
		return nil
	}
	e := experiment{name: name, size: size, items: a.requests}
	for round := range b.rounds {
		for i := range servers {
			if round%2 == 1 {
				i = len(servers) - 1 - i
			}
			s := servers[i]
			if s.missing != "" {
				b.skip(e, contender{name: s.name}, s.missing)
				continue
			}
			b.say("%s/%d, %d of %d: %s", name, size, round+1, b.rounds, s.name)
			got, err := b.serve(ctx, s, a)
			if err != nil {
				return fmt.Errorf("%s/%d: %s: %w", name, size, s.name, err)
			}
			got.Experiment, got.Size, got.Items, got.Contender, got.Round = name, size, a.requests, s.name, round
			b.samples = append(b.samples, got)
		}
	}
	return nil
}

// serve starts a server, warms it up, and measures it under a load.
func (b *bench) serve(ctx context.Context, s server, a asking) (out sample, err error) {
	cmd, plain, secure, err := s.begin()
	if err != nil {
		return out, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // nginx and others end with whatever status
		close(ended)
	}()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}()
	address := plain
	if a.tls {
		address = secure
	}
	if err := answers(ctx, address, ended); err != nil {
		return out, err
	}
	warm := a
	warm.requests = max(a.requests/20, min(a.requests, 3))
	warm.connections = min(a.connections, warm.requests)
	if _, err := warm.load(address); err != nil {
		return out, err
	}
	time.Sleep(300 * time.Millisecond) // it compresses beside the serving
	before, err := processors(cmd.Process.Pid)
	if err != nil {
		return out, err
	}
	took, err := a.load(address)
	if err != nil {
		return out, err
	}
	after, err := processors(cmd.Process.Pid)
	if err != nil {
		return out, err
	}
	peak, err := resident(cmd.Process.Pid)
	return sample{WallUS: took.Microseconds(), CPUUS: (after - before).Microseconds(), PeakBytes: peak}, err
}

// answers waits until a server takes connections, or has ended.
func answers(ctx context.Context, address string, ended <-chan struct{}) error {
	for ctx.Err() == nil {
		select {
		case <-ended:
			return errors.New("it ended at once")
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// family are a process and its children.
func family(pid int) []int {
	out := []int{pid}
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // none
	for child := range strings.FieldsSeq(string(data)) {
		if n, err := strconv.Atoi(child); err == nil {
			out = append(out, family(n)...)
		}
	}
	return out
}

// processors is the time that a process and its children have had, exactly: stat counts
// ticks of 10 ms only.
func processors(pid int) (time.Duration, error) {
	total := time.Duration(0)
	for _, p := range family(pid) {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p))
		if err != nil {
			return 0, err
		}
		for _, t := range tasks {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", p, t.Name()))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			ns, err := strconv.ParseInt(strings.Fields(string(data))[0], 10, 64)
			if err != nil {
				return 0, err
			}
			total += time.Duration(ns)
		}
	}
	return total, nil
}

// resident is how much memory a process and its children have, in bytes.
func resident(pid int) (total int64, err error) {
	for _, p := range family(pid) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(data)) {
			if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
				if err != nil {
					return 0, err
				}
				total += n << 10
			}
		}
	}
	return total, nil
}

// freePort is a port that nobody uses at this moment.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// publishServe is publish serve over a repository.
func (b *bench) publishServe(name, repo string, more ...string) server {
	return server{name: name, begin: func() (*exec.Cmd, string, string, error) {
		cmd := exec.Command(b.bin, append([]string{"--repo", repo, "-q", "serve", "--tls-self-signed", "--admin", "off",
			"--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"}, more...)...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, "", "", err
		}
		if err := cmd.Start(); err != nil {
			return nil, "", "", err
		}
		r := bufio.NewReader(out)
		plain, err := r.ReadString('\n')
		secure, err2 := r.ReadString('\n')
		go func() { _, _ = io.Copy(io.Discard, r) }()
		return cmd, strings.TrimPrefix(strings.TrimSpace(plain), "http://"),
			strings.TrimPrefix(strings.TrimSpace(secure), "https://"), errors.Join(err, err2)
	}}
}

// pair makes a certificate for the peers.
func (w *workshop) pair() (cert, key string, err error) {
	cert, key = w.path("cert.pem"), w.path("key.pem")
	if _, err := os.Stat(cert); err == nil {
		return cert, key, nil
	}
	_, err = w.bench.do(command{argv: []string{"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=bench"}})
	return cert, key, err
}

// nginx is nginx over a directory, as one would set it up for the same job.
func (w *workshop) nginx(name, root string, more string) server {
	return server{name: name, missing: w.bench.missing("nginx"), begin: func() (*exec.Cmd, string, string, error) {
		cert, key, err := w.pair()
		plain, err2 := freePort()
		secure, err3 := freePort()
		if err := errors.Join(err, err2, err3); err != nil {
			return nil, "", "", err
		}
		dir := w.path("nginx")
		config := fmt.Sprintf(`daemon off; user root; worker_processes 2; pid %[1]s/pid; error_log /dev/null;
events { worker_connections 4096; }
http {
	access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; keepalive_timeout 1h;
	types { application/json json; }
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u;
	scgi_temp_path %[1]s/s; %[5]s
	server { listen %[2]s; listen %[3]s ssl; ssl_certificate %[6]s; ssl_certificate_key %[7]s; root %[4]s; }
}
`, dir, plain, secure, root, more, cert, key)
		file := filepath.Join(dir, "nginx.conf")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(file, []byte(config), 0o644)); err != nil {
			return nil, "", "", err
		}
		cmd := exec.Command("nginx", "-p", dir, "-c", file)
		return cmd, plain, secure, cmd.Start()
	}}
}

// caddy is Caddy over a directory.
func (w *workshop) caddy(root string) server {
	return server{name: caddyServer, missing: w.bench.missing("caddy"),
		begin: func() (*exec.Cmd, string, string, error) {
			plain, err := freePort()
			if err != nil {
				return nil, "", "", err
			}
			_, port, _ := strings.Cut(plain, ":")
			file := w.path("Caddyfile")
			config := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttp://:%s {\n\troot * %s\n"+
				"\tfile_server\n}\n", port, root)
			if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
				return nil, "", "", err
			}
			cmd := exec.Command("caddy", "run", "--config", file, "--adapter", "caddyfile")
			cmd.Env = append(os.Environ(), "HOME="+w.path("home"))
			return cmd, plain, "", cmd.Start()
		}}
}
