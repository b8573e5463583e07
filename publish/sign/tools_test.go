package sign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// need skips a test where a tool is missing.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is missing", tool)
			}
			t.Skipf("%s is missing: `make deps` installs it on Debian", tool)
		}
	}
}

// tool runs a command in a directory, and returns what it prints.
func tool(t testing.TB, dir string, input []byte, argv ...string) ([]byte, error) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, bytes.NewReader(input), &out, &said
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%q: %w: %s", argv, err, said.String())
	}
	return out.Bytes(), err
}

// gpg is a directory of keys of gpg.
type gpg struct {
	testing.TB
	home string
}

func newGPG(t testing.TB) gpg {
	need(t, "gpg", "gpgv", "gpgconf", "gpg-agent")
	home := must(os.MkdirTemp("", "gpg"))(t) // a socket's path is short
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	return gpg{t, home}
}

// run runs gpg, as of a time if there is one.
func (g gpg) run(at time.Time, input []byte, args ...string) []byte {
	g.Helper()
	argv := []string{"gpg", "--homedir", g.home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"}
	if !at.IsZero() {
		argv = append(argv, "--faked-system-time", at.UTC().Format("20060102T150405")+"!")
	}
	return must(tool(g, g.home, input, append(argv, args...)...))(g)
}

// key makes a key that signs, and returns the files of its halves.
func (g gpg) key(name, algorithm, expires, passphrase string) pair {
	g.Helper()
	g.run(made, nil, "--passphrase", passphrase, "--quick-gen-key", name, algorithm, "sign", expires)
	return g.export(name, passphrase)
}

func (g gpg) export(name, passphrase string) pair {
	g.Helper()
	return pair{write(g, name+".key", g.run(now, nil, "--passphrase", passphrase, "--armor", "--export-secret-keys", name)),
		write(g, name+".gpg", g.run(now, nil, "--export", name))}
}

// verify is what gpgv prints of a document.
func (g gpg) verify(document []byte, keys ...pair) (string, error) {
	g.Helper()
	argv := []string{"gpgv", "--homedir", g.home, "--output", "-"}
	for _, k := range keys {
		data := must(os.ReadFile(k.public))(g)
		if bytes.HasPrefix(data, []byte("-----")) {
			data = must(tool(g, g.home, data, "gpg", "--homedir", g.home, "--dearmor"))(g)
		}
		argv = append(argv, "--keyring", write(g, "ring.gpg", data))
	}
	out, err := tool(g, g.home, nil, append(argv, write(g, "document", document))...)
	return string(out), err
}

// gpgv accepts what is signed here, and prints the same bytes.
func TestGPGReads(t *testing.T) {
	g := newGPG(t)
	first, second := g.key("first@example.com", "ed25519", "never", ""), newPGP(t, packet.PubKeyAlgoRSA, 0, "")
	list := map[string]pair{"gpg's": first, "RSA": second, "rsa2048": g.key("rsa@example.com", "rsa2048", "never", ""),
		"nistp256": g.key("nist@example.com", "nistp256", "never", "")}
	ring := must(OpenKeyring(first.public, second.public))(t)
	for name, key := range list {
		s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(t)
		for what, d := range documents {
			out := must(s.Inline(context.Background(), []byte(d[0])))(t)
			if got, err := g.verify(out, key); err != nil || got != d[1] {
				t.Errorf("%s, %s: %q, %v", name, what, got, err)
			}
		}
	}
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{first.secret, second.secret}}}, now))(t)
	long := []byte("[" + strings.Repeat(`"some, text": -1, `, 10_000) + "1]")
	long = bytes.ReplaceAll(long, []byte(`": -1`), []byte(`", -1`))
	out := must(s.Inline(context.Background(), long))(t)
	for _, keys := range [][]pair{{first, second}, {second, first}} {
		got, err := g.verify(out, keys...)
		if plain, _, bad := ring.Inline(out, now); err != nil || bad != nil || got != string(plain) {
			t.Errorf("two keys, long lines: %d bytes, %v; here %d, %v", len(got), err, len(plain), bad)
		}
	}
	if _, err := g.verify(bytes.Replace(out, []byte("some"), []byte("Some"), 1), first, second); err == nil {
		t.Error("gpgv takes a changed byte")
	}
	if _, err := g.verify(out, list["rsa2048"]); err == nil {
		t.Error("gpgv takes another key")
	}
}

// What gpg signs is read here as gpgv prints it.
func TestGPGSigns(t *testing.T) {
	g := newGPG(t)
	for _, algorithm := range []string{"ed25519", "rsa2048", "nistp384"} {
		name := algorithm + "@example.com"
		key := g.key(name, algorithm, "never", "")
		ring := must(OpenKeyring(key.public))(t)
		for what, d := range documents {
			if what == "CR" {
				continue // gpg keeps it, in a way of its own
			}
			out := g.run(now, []byte(d[0]), "--local-user", name, "--clearsign")
			plain, _, err := ring.Inline(out, now.Add(time.Minute))
			want, bad := g.verify(out, key)
			if err != nil || bad != nil || string(plain) != want || want != d[1] {
				t.Errorf("%s, %s: %q, %v; gpgv %q, %v; want %q", algorithm, what, plain, err, want, bad, d[1])
			}
		}
	}
}

// Keys of gpg: encrypted, expired, revoked, with a part that signs and a primary key elsewhere.
func TestGPGKeys(t *testing.T) {
	g := newGPG(t)
	locked := g.key("locked@example.com", "ed25519", "never", "a secret")
	expired := g.key("expired@example.com", "rsa2048", "2026-02-01", "")
	g.key("revoked@example.com", "ed25519", "never", "")
	rev := must(filepath.Glob(filepath.Join(g.home, "openpgp-revocs.d", fingerprintOf(g, "revoked@example.com")+".rev")))(t)
	g.run(now, bytes.ReplaceAll(must(os.ReadFile(rev[0]))(t), []byte(":-----BEGIN"), []byte("-----BEGIN")), "--import")
	revoked := g.export("revoked@example.com", "")

	g.run(made, nil, "--passphrase", "", "--quick-gen-key", "parts@example.com", "rsa2048", "cert", "never")
	g.run(made, nil, "--passphrase", "", "--quick-add-key", fingerprintOf(g, "parts@example.com"), "ed25519", "sign", "2026-02-01")
	parts := pair{write(t, "parts.key", g.run(now, nil, "--export-secret-subkeys", "parts@example.com")),
		g.export("parts@example.com", "").public}

	later := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	passphrase := write(t, "passphrase", []byte("a secret\n"))
	for _, c := range []struct {
		key  pair
		pass string
		at   time.Time
		fact string // "": it signs
	}{
		{locked, passphrase, now, ""},
		{locked, "", now, "encrypted"},
		{locked, write(t, "wrong", []byte("another")), now, "passphrase is wrong"},
		{expired, "", now, ""},
		{expired, "", later, "is expired"},
		{revoked, "", later, "is revoked"},
		{parts, "", now, ""},
		{parts, "", later, "is expired"},
		{parts, "", made.Add(-time.Hour), "made after now"},
	} {
		s, err := Open(Options{OpenPGP: KeyOptions{Keys: []string{c.key.secret}, PassphraseFile: c.pass}}, c.at)
		if c.fact != "" {
			if bad := new(KeyError); !errors.As(err, &bad) || !strings.Contains(bad.Fact, c.fact) {
				t.Errorf("%s: %v, want %s", c.key.secret, err, c.fact)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.key.secret, err)
			continue
		}
		out := must(s.Inline(context.Background(), []byte("{}")))(t)
		ring := must(OpenKeyring(c.key.public))(t)
		if _, _, err := ring.Inline(out, c.at); err != nil {
			t.Errorf("%s: %v", c.key.secret, err)
		}
		if _, err := g.verify(out, c.key); err != nil && !strings.Contains(err.Error(), "expired") {
			t.Errorf("%s: %v", c.key.secret, err)
		}
		if _, _, err := ring.Inline(out, later); (err != nil) != (c.key != locked) {
			t.Errorf("%s, later: %v", c.key.secret, err)
		}
	}
	if _, _, err := must(OpenKeyring(revoked.public))(t).Inline(g.run(time.Time{}, []byte("{}"), "--local-user",
		"locked@example.com", "--passphrase", "a secret", "--clearsign"), later); err == nil {
		t.Error("another key")
	}
}

// fingerprintOf asks gpg for the fingerprint of a key.
func fingerprintOf(g gpg, name string) string {
	for line := range strings.Lines(string(g.run(now, nil, "--with-colons", "--list-keys", name))) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			return f[9]
		}
	}
	g.Fatal(name + " has no fingerprint")
	return ""
}

// A command may sign in the place of keys. It is not believed.
func TestCommand(t *testing.T) {
	g := newGPG(t)
	need(t, "minisign")
	key, small := g.key("agent@example.com", "ed25519", "never", ""), newMinisign(t)
	clear := []string{"gpg", "--homedir", g.home, "--batch", "--quiet", "--local-user", "agent@example.com", "--clearsign"}
	mini := []string{"sh", "-c", `minisign -S -q -W -s "$0" -m /dev/stdin -x /dev/stdout -t "$` + TrustedVariable + `"`, small.secret}
	s := must(Open(Options{OpenPGP: KeyOptions{Command: clear}, Minisign: KeyOptions{Command: mini}}, now))(t)
	ring := must(OpenKeyring(key.public, small.public))(t)
	for _, name := range []string{"JSON", "dashes", "CR", "no line break"} {
		d := documents[name]
		out, err := s.Inline(context.Background(), []byte(d[0]))
		plain, _, bad := ring.Inline(out, time.Now().Add(time.Hour))
		if err != nil || bad != nil || string(plain) != d[1] {
			t.Errorf("%s: %v, %q, %v", name, err, plain, bad)
		}
	}
	list, err := s.Detached(context.Background(), []byte("data"), "a comment")
	if err != nil || len(list) != 1 || list[0].Suffix != ".minisig" {
		t.Fatal(list, err)
	}
	if said, _, err := ring.Detached([]byte("data"), list[0].Data); err != nil || said != "a comment" {
		t.Errorf("%q, %v", said, err)
	}
	for text, argv := range map[string][]string{
		"is not signed":       {"cat"},
		"no such file":        {"/nowhere/sign"},
		"it is locked":        {"sh", "-c", "echo it is locked >&2; exit 1"},
		"signed another text": {"sh", "-c", "cat >/dev/null; echo x | gpg --homedir " + g.home + " --clearsign -q"},
		"more than":           {"cat", "/dev/zero"},
	} {
		s := must(Open(Options{OpenPGP: KeyOptions{Command: argv}, Minisign: KeyOptions{Command: argv}}, now))(t)
		if _, err := s.Inline(context.Background(), []byte("{}")); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", argv, err)
		}
		if list, err := s.Detached(context.Background(), []byte("{}"), "x"); err == nil {
			t.Errorf("%q: %v", argv, list)
		}
	}
	mini[2] = strings.Replace(mini[2], TrustedVariable, "HOME", 1)
	s = must(Open(Options{Minisign: KeyOptions{Command: mini}}, now))(t)
	if _, err := s.Detached(context.Background(), []byte("data"), "a comment"); err == nil ||
		!strings.Contains(err.Error(), TrustedVariable) {
		t.Error("another comment:", err)
	}
}

// minisign accepts what is signed here, and the other way round; with keys of both. testdata has a
// key with the passphrase "a secret" that is opened at once: minisign makes those for which that
// takes a gigabyte and seconds.
func TestMinisign(t *testing.T) {
	need(t, "minisign")
	dir := t.TempDir()
	read := func(name string) []byte { return must(os.ReadFile(filepath.Join("testdata", name)))(t) }
	for name, key := range map[string]pair{
		"open":   {filepath.Join(dir, "open.key"), filepath.Join(dir, "open.pub")},
		"ours":   newMinisign(t),
		"locked": {write(t, "locked.key", read("locked.key")), write(t, "locked.pub", read("locked.pub"))},
	} {
		o, input := KeyOptions{Keys: []string{key.secret}}, ""
		switch name {
		case "open":
			if _, err := tool(t, dir, nil, "minisign", "-G", "-W", "-s", key.secret, "-p", key.public); err != nil {
				t.Fatal(err)
			}
		case "locked":
			o.PassphraseFile, input = write(t, "passphrase", []byte("a secret")), "a secret\n"
		}
		s := must(Open(Options{Minisign: o}, now))(t)
		data := []byte(strings.Repeat("data\n", 1000))
		file := write(t, "data", data)
		sig := must(s.Detached(context.Background(), data, "generation:1"))(t)[0].Data
		check := []string{"minisign", "-V", "-Q", "-p", key.public, "-m", file, "-x"}
		if out, err := tool(t, dir, nil, append(check, write(t, "sig", sig))...); err != nil || string(out) != "generation:1\n" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
		bad := bytes.Replace(sig, []byte("generation:1"), []byte("generation:2"), 1)
		if _, err := tool(t, dir, nil, append(check, write(t, "sig", bad))...); err == nil {
			t.Errorf("%s: minisign takes another comment", name)
		}
		ring := must(OpenKeyring(key.public))(t)
		for _, flags := range [][]string{nil, {"-l"}} { // -l: as before 0.10
			theirs := filepath.Join(t.TempDir(), "theirs")
			argv := append([]string{"minisign", "-S", "-s", key.secret, "-m", file, "-x", theirs, "-t", "their own"}, flags...)
			if input == "" {
				argv = append(argv, "-W")
			}
			if _, err := tool(t, dir, []byte(input), argv...); err != nil {
				t.Fatal(err)
			}
			if said, _, err := ring.Detached(data, must(os.ReadFile(theirs))(t)); err != nil || said != "their own" {
				t.Errorf("%s: %q, %v", name, said, err)
			}
		}
	}
}
