package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// served is publish serve as a process.
type served struct {
	*exec.Cmd
	url    string
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// next is the next line that it prints.
func (s *served) next() (string, error) {
	line, err := s.stdout.ReadString('\n')
	return strings.TrimSpace(line), err
}

// servedRepo makes a repository with one file in production, and returns its directory.
func servedRepo(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "r")
	for _, args := range [][]string{{"init", "--format", "plain", dir}, {"--repo", dir, "promote"}} {
		if args[0] == "--repo" {
			must(t, os.WriteFile(filepath.Join(dir, "staging/page.txt"), []byte("text"), 0o644))
		}
		if out, err := publishCommand(t, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// publishCommand is the program as a process.
func publishCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	bin := filepath.Join(t.TempDir(), "publish") // it is the program by this name: see TestMain
	must(t, os.Symlink(self, bin))
	return exec.Command(bin, args...)
}

// begin starts it and waits for its address.
func begin(t *testing.T, cmd *exec.Cmd) *served {
	t.Helper()
	s := &served{Cmd: cmd}
	cmd.Stderr = &s.stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s.stdout = bufio.NewReader(out)
	if s.url, err = s.next(); err != nil {
		_ = cmd.Wait()
		t.Fatalf("%v: %s", err, s.stderr.String())
	}
	return s
}

// SIGHUP makes it look again, SIGTERM ends it with 0.
func TestServeSignals(t *testing.T) {
	s := begin(t, publishCommand(t, "--repo", servedRepo(t), "serve", "--listen", "http://127.0.0.1:0", "--admin", "off"))
	must(t, s.Process.Signal(syscall.SIGHUP))
	r, err := http.Get(s.url + "/page.txt")
	must(t, err)
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil || string(body) != "text" {
		t.Errorf("%q %v", body, err)
	}
	must(t, s.Process.Signal(syscall.SIGTERM))
	if err := s.Wait(); err != nil {
		t.Errorf("%v: %s", err, s.stderr.String())
	}
}

// The access log of publish.yaml is relative to the repository, as certificates are; the
// flag is relative to where the command runs.
func TestServeAccessLog(t *testing.T) {
	repo, here := servedRepo(t), t.TempDir()
	must(t, os.WriteFile(filepath.Join(repo, "publish.yaml"), []byte("format: plain\nserve: {access_log: a.log}\n"),
		0o644))
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, filepath.Join(repo, "a.log")},
		{[]string{"--access-log", "b.log"}, filepath.Join(here, "b.log")},
	} {
		cmd := publishCommand(t, append([]string{"--repo", repo, "serve", "--listen", "http://127.0.0.1:0", "--admin",
			"off"}, c.args...)...)
		cmd.Dir = here
		s := begin(t, cmd)
		if _, err := os.Stat(c.want); err != nil {
			t.Errorf("%v: %v", c.args, err)
		}
		must(t, s.Process.Signal(syscall.SIGTERM))
		if err := s.Wait(); err != nil {
			t.Errorf("%v: %s", err, s.stderr.String())
		}
	}
}

// An address that is taken, and a bad configuration, have exit codes of their own.
func TestServeExits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	repo := servedRepo(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--listen", "http://" + l.Addr().String(), "--admin", "off"}, 1, "cannot be opened"},
		{[]string{"--listen", "ftp://x"}, 2, "is not http://host:port"},
		{[]string{"--listen", "https://127.0.0.1:0", "--admin", "off"}, 2, "needs a certificate"},
		{[]string{"--tls-cert", "/none.pem", "--tls-key", "/none.pem"}, 2, "/none.pem"},
		{[]string{"--tls-cert", "/none.pem"}, 2, "needs both cert and key"},
		{[]string{"--tls-key", "/none.pem"}, 2, "needs both cert and key"},
		{[]string{"--tls-self-signed", "--tls-cert", "/none.pem", "--tls-key", "/none.pem"}, 2,
			"--tls-self-signed cannot be used"},
		{[]string{"more"}, 2, "one argument too many"},
	} {
		cmd := publishCommand(t, append([]string{"--repo", repo, "serve"}, c.args...)...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: exit %d, %s", c.args, code, out)
		}
	}
}

// The addresses are printed in a fixed order, also beside a socket of systemd: that for
// operators is the last.
func TestServeAddresses(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer l.Close()
	socket, err := l.File()
	must(t, err)
	defer socket.Close()
	repo := servedRepo(t)
	for _, sockets := range []int{0, 1} {
		cmd := publishCommand(t)
		cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", cmd.Path, "--repo", repo, "serve",
			"--listen", "http://127.0.0.1:0", "--admin", "http://127.0.0.1:0")
		cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", sockets), "LISTEN_FDNAMES=http")
		cmd.ExtraFiles = []*os.File{socket}
		s := begin(t, cmd)
		for i, want := range []string{"404", "200"} {
			r, err := http.Get(s.url + "/metrics")
			must(t, err)
			_ = r.Body.Close()
			if systems := s.url == "http://"+l.Addr().String(); !strings.HasPrefix(r.Status, want) ||
				systems != (sockets == 1 && i == 0) {
				t.Errorf("%d sockets: address %d: %s: %s", sockets, i, s.url, r.Status)
			}
			if i == 0 {
				s.url, err = s.next()
				must(t, err)
			}
		}
		must(t, s.Process.Signal(syscall.SIGTERM))
		if err := s.Wait(); err != nil {
			t.Errorf("%v: %s", err, s.stderr.String())
		}
		if warned := strings.Contains(s.stderr.String(), "--listen are not used"); warned != (sockets == 1) {
			t.Errorf("%d sockets: %s", sockets, s.stderr.String())
		}
	}
}

// With a socket that somebody else holds, as systemd does, a restart refuses nobody.
func TestServeRestart(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	defer l.Close()
	socket, err := l.File()
	must(t, err)
	defer socket.Close()
	repo := servedRepo(t)
	start := func() *served {
		cmd := publishCommand(t)
		// LISTEN_PID is of the process that begins to run here.
		cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", cmd.Path, "--repo", repo, "serve",
			"--admin", "off")
		cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=http")
		cmd.ExtraFiles = []*os.File{socket}
		return begin(t, cmd)
	}
	s := start()
	stop := make(chan struct{})
	var group sync.WaitGroup
	var mu sync.Mutex
	asked := 0
	for range 4 {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Minute}
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := client.Get(fmt.Sprintf("http://%s/page.txt", l.Addr()))
				if err != nil || r.StatusCode != 200 {
					t.Errorf("%v %v", r, err)
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_ = r.Body.Close()
				mu.Lock()
				asked++
				mu.Unlock()
			}
		})
	}
	for range 3 {
		mu.Lock()
		before := asked
		mu.Unlock()
		must(t, s.Process.Signal(syscall.SIGTERM))
		if err := s.Wait(); err != nil {
			t.Errorf("%v: %s", err, s.stderr.String())
		}
		s = start()
		for now := before; now < before+20 && !t.Failed(); {
			time.Sleep(time.Millisecond)
			mu.Lock()
			now = asked
			mu.Unlock()
		}
	}
	close(stop)
	group.Wait()
}
