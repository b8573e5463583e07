package fanout

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
)

// TestMain makes the test binary also the program at the other end of ssh.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "receive" {
		if err := Serve(ctx, os.Stdin, output(), os.Args[2], host); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sshd starts a server on the loopback that runs publish, and puts a client in PATH that
// knows it. It returns the beginning of the addresses.
func sshd(t *testing.T) string {
	t.Helper()
	server := "/usr/sbin/sshd"
	for _, tool := range []string{server, "ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is missing", tool)
			}
			t.Skipf("%s is missing: `make deps` installs it on Debian", tool)
		}
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // for its unprivileged part
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path(name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path(key)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	public := func(key string) string { return string(must(os.ReadFile(path(key + ".pub")))(t)) }
	self := must(os.Executable())(t)
	// The other end: what it is depends on the directory.
	write("bin/publish", `#!/bin/sh
case $2 in
*noise*) echo "Welcome to web1!" ;;
*usage*) echo "publish: \"receive\" is no command" >&2; exit 2 ;;
*none*) exec no-such-publish "$@" ;;
esac
test ! -e "$2.kill" || export `+killEnv+`=$(cat "$2.kill")
exec `+self+` "$@"
`, 0o755)
	write("authorized_keys", public("user"), 0o600)
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	write("sshd_config", fmt.Sprintf("ListenAddress 127.0.0.1:%s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\n"+
		"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nSetEnv PATH=%s:/usr/bin:/bin\n",
		port, path("host"), path("authorized_keys"), path("bin")), 0o600)
	write("known_hosts", fmt.Sprintf("[127.0.0.1]:%s %s", port, public("host")), 0o600)
	write("strangers", "", 0o600)
	write("client/ssh", fmt.Sprintf("#!/bin/sh\nexec %s -F /dev/null -i %s -oIdentitiesOnly=yes -oStrictHostKeyChecking=yes "+
		"-oUserKnownHostsFile=%s \"$@\"\n", must(exec.LookPath("ssh"))(t), path("user"), path("${KNOWN:-known_hosts}")), 0o755)
	t.Setenv("PATH", path("client")+":"+os.Getenv("PATH"))

	c := exec.Command(server, "-D", "-e", "-f", path("sshd_config"))
	said, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	listening := make(chan bool)
	go func() {
		defer close(listening)
		in := bufio.NewScanner(said)
		for first := true; in.Scan(); {
			if first && strings.HasPrefix(in.Text(), "Server listening") {
				first = false
				listening <- true
			}
		}
	}()
	if !<-listening {
		t.Fatal("sshd does not listen")
	}
	who := must(user.Current())(t)
	return "ssh://" + who.Username + "@127.0.0.1:" + port
}

func TestSSH(t *testing.T) {
	base := sshd(t)
	dir := t.TempDir()
	// ssh gives the command to a shell.
	odd := filepath.Join(dir, "it's; a $(dir)")
	sync := func(lead *publish.Repo, ctx context.Context) Result {
		t.Helper()
		_, list, err := Sync(ctx, lead, nil, Options{Host: host, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	url := func(dir string) string {
		return base + strings.NewReplacer("'", "%27", " ", "%20", "$", "%24", ";", "%3B").Replace(dir)
	}
	lead := newLead(t, map[string]string{"eu": url(odd)})
	promote(t, lead, old)
	if res := sync(lead, ctx); res.Err != nil || res.Sent != 3 {
		t.Fatalf("%+v", res)
	}
	same(t, lead, odd)
	if res := sync(lead, ctx); res.Err != nil || res.Switched {
		t.Errorf("%+v", res)
	}
	promote(t, lead, next)
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if res := sync(lead, stopped); res.Err == nil {
		t.Errorf("%+v", res)
	}
	if res := sync(lead, ctx); res.Err != nil || res.Sent != 2 {
		t.Errorf("%+v", res)
	}
	same(t, lead, odd)

	for name, want := range map[string]string{"noise": `printed "Welcome to web1!"`, "usage": "is no command",
		"none": "ended with 127"} {
		lead := newLead(t, map[string]string{"eu": url(filepath.Join(dir, name))})
		promote(t, lead, old)
		res := sync(lead, ctx)
		if res.Err == nil || !strings.Contains(res.Err.Error(), want) || !strings.Contains(res.Err.Error(),
			"does not answer as publish receive does") {
			t.Errorf("%s: %v", name, res.Err)
		}
	}
	// What the target refuses is its own error.
	if res := sync(func() *publish.Repo {
		lead := newLead(t, map[string]string{"eu": url(odd)})
		promote(t, lead, old)
		return lead
	}(), ctx); kindOf(res.Err) != publish.Refused || !strings.Contains(res.Err.Error(), "another repository") {
		t.Errorf("%v", res.Err)
	}
	t.Setenv("KNOWN", "strangers")
	promote(t, lead, old)
	if res := sync(lead, ctx); res.Err == nil || !strings.Contains(res.Err.Error(), "ended with 255") ||
		!strings.Contains(res.Err.Error(), "Host key verification failed") || res.Generation != 2 {
		t.Errorf("%+v", res)
	}
}

func TestAddressOfSSH(t *testing.T) {
	for text, want := range map[string]string{
		"ssh://web1/srv/images":              "-- web1 exec publish receive '/srv/images'",
		"ssh://deploy@web1:2222/srv//images": "-p 2222 -l deploy -- web1 exec publish receive '/srv/images'",
		"ssh://[::1]/srv/it%27s":             `-- ::1 exec publish receive '/srv/it'\''s'`,
	} {
		at := must(publish.ParseAddress(text))(t)
		if got := strings.Join(command(ctx, at).Args, " "); !strings.HasSuffix(got, want) {
			t.Errorf("%s", got)
		}
	}
	for _, text := range []string{"", "srv/images", "/", "ssh://web1", "ssh://web1/", "ssh://-oProxyCommand=x/srv",
		"ssh://-l@web1/srv", "ssh://a b@web1/srv", "ssh://u:secret@web1/srv", "ssh://web1:0/srv", "ssh://web1:99999/srv",
		"ssh://web1/srv?x", "ssh://web1/srv#x", "ssh://we;b/srv", "ssh://$(x)/srv", "http://web1/srv", "s3://bucket", "s3:///x",
		"/srv/\n", "ssh://web1:/srv", "ssh:///srv", "ssh://web1/srv%00"} {
		if at, err := publish.ParseAddress(text); err == nil {
			t.Errorf("%q: %+v", text, at)
		}
	}
}
