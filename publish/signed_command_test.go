package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/simplestreams"
)

// signerChild is a command that signs with the key in PUBLISH_TEST_KEY: this test binary, which runs
// again.
func signerChild(how string) {
	s, err := sign.Open(sign.Options{OpenPGP: sign.KeyOptions{Keys: []string{os.Getenv("PUBLISH_TEST_KEY")}}}, epoch)
	var data, out []byte
	if err == nil {
		data, err = io.ReadAll(os.Stdin)
	}
	if err == nil {
		switch how {
		case "inline":
			out, err = s.Inline(context.Background(), data)
		case "other":
			out, err = s.Beside(context.Background(), append(data, ' '))
		default:
			out, err = s.Beside(context.Background(), data)
		}
	}
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// byCommand has commands sign with the OpenPGP key. how is what makes signatures beside documents:
// beside, or what else signerChild does; "" for none.
func (s *signers) byCommand(t testing.TB, how string) func(*Config) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := func(how string) []string {
		return []string{"env", "PUBLISH_TEST_SIGNER=" + how, "PUBLISH_TEST_KEY=" + s.keys.OpenPGP.Key[0], self}
	}
	return func(c *Config) {
		c.Sign = s.keys
		c.Sign.OpenPGP = SignerConfig{Command: argv("inline")}
		if how != "" {
			c.Sign.OpenPGP.DetachedCommand = argv(how)
		}
	}
}

// Commands sign what clients read in a store, and beside it, as keys do.
func TestSharedSignedByCommand(t *testing.T) {
	keys := newSigners(t)
	m := newSignedMachine(t, newStore(), "ada", keys)
	m.cfg = keys.byCommand(t, "beside")
	one, two := map[string]string{"1": "one"}, map[string]string{"1": "one", "2": "two"}
	m.shelve(one)
	m.promote()
	m.wantClients("first", one)
	m.shelve(two)
	m.promote()
	m.wantClients("second", two)
	_, err := m.repo().Revert(ctx, RevertOptions{})
	m.no(err)
	m.wantClients("revert", one)
	_, err = m.repo().Sign(ctx, SignOptions{})
	m.no(err)
	m.wantClients("sign", one)
	m.wantKept("sign")
}

// A command that makes no signature of a catalog stops a promote before anything is sent. The way
// back goes on, and sign makes up for it.
func TestSharedSignerBesideFails(t *testing.T) {
	keys := newSigners(t)
	for how, fact := range map[string]string{
		"other":  "is a signature of other bytes",
		"inline": "is a clearsigned text",
		"none":   "exit status 3",
	} {
		m := newSignedMachine(t, newStore(), "ada", keys)
		good := keys.byCommand(t, "beside")
		m.cfg = good
		one, two := map[string]string{"1": "one"}, map[string]string{"1": "one", "2": "two"}
		m.shelve(one)
		m.promote()
		m.shelve(two)
		m.promote()
		m.cfg = keys.byCommand(t, how)
		if how == "none" {
			m.cfg = func(c *Config) {
				good(c)
				c.Sign.OpenPGP.DetachedCommand = []string{"sh", "-c", "exit 3"}
			}
		}
		var said []string
		broken := func() *Repo {
			r := m.repo()
			r.opt.Warn = func(s string) { said = append(said, s) }
			return r
		}
		before := m.store.Keys("")
		m.shelve(map[string]string{"3": "three"})
		_, err := broken().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Failed)
		e := new(Error)
		if !strings.Contains(err.Error(), fact) || (how != "none") != (errors.As(err, &e) && e.Hint != "") {
			t.Errorf("%s: %v, %+v", how, err, e)
		}
		if after := m.store.Keys(""); !slices.Equal(before, after) {
			t.Errorf("%s: the store has %q, and had %q", how, after, before)
		}
		_, err = broken().Sign(ctx, SignOptions{})
		wantKind(t, err, Failed)
		m.wantClients(how, two)
		// The documents of generation 1 are signed.
		if _, err := broken().Revert(ctx, RevertOptions{}); err != nil || len(said) > 0 {
			t.Errorf("%s: %v, %q", how, err, said)
		}
		m.wantClients(how+", revert", one)
		// Those of what a revoke makes are not.
		_, err = broken().Revoke(ctx, RevokeOptions{What: []string{shelved + "/1"}, Why: "leaked"})
		m.no(err)
		if !strings.Contains(strings.Join(said, "\n"), "continues without this signature") {
			t.Errorf("%s: %q", how, said)
		}
		m.cfg = good
		_, err = m.repo().Sign(ctx, SignOptions{})
		m.no(err)
		if images, err := m.clients(); err != nil || len(images) > 0 {
			t.Errorf("%s: %q, %v", how, images, err)
		}
	}
}

// Where a command signs documents, and none signs beside them, there is nothing beside them, and the
// configuration says so once.
func TestSharedSignedInsideOnly(t *testing.T) {
	keys := newSigners(t)
	m := newSignedMachine(t, newStore(), "ada", keys)
	m.cfg = keys.byCommand(t, "")
	m.shelve(map[string]string{"1": "one"})
	m.promote()
	if images, err := m.clients(); err != nil || len(images) != 1 {
		t.Fatalf("%q, %v", images, err)
	}
	for _, key := range m.store.Keys("") {
		if strings.HasSuffix(key, besideEnd) {
			t.Errorf("%s: there is a signature", key)
		}
	}
	c := choices
	c.Format = func(string) catalog.Format { return simplestreams.Format{} }
	if said := m.repo().Config.Warnings(c); len(said) != 1 || !strings.Contains(said[0], "sign.openpgp.detached_command") {
		t.Errorf("%q", said)
	}
}

// The command for signatures beside documents is for one that signs them, in a store that clients
// read.
func TestConfigDetachedCommand(t *testing.T) {
	c := choices
	c.Format = func(name string) catalog.Format {
		if name == "simplestreams" {
			return simplestreams.Format{}
		}
		return listed{}
	}
	const both, store = "sign: {openpgp: {command: [a], detached_command: [b, -c]}}", "\nproduction: s3://bucket/p"
	for text, want := range map[string]string{ // the warning
		both + store:                            "",
		both:                                    "sign.openpgp.detached_command: has no effect here",
		both + store + "\ns3: {readers: serve}": "sign.openpgp.detached_command: has no effect here",
		"sign: {openpgp: {command: [a]}}" + store:                     "sign.openpgp.command: makes no .json.gpg",
		"sign: {openpgp: {command: [a]}}":                             "",
		"sign: {openpgp: {key: a}}" + store:                           "",
		"sign: {minisign: {command: [a]}}" + store:                    "",
		both + store + "\nformat: plain":                              "sign.openpgp: has no effect in a",
		"sign: {openpgp: {command: [a]}}" + store + "\nformat: plain": "sign.openpgp: has no effect in a",
		"sign: {openpgp: {detached_command: []}}" + store:             "",
	} {
		got, _, err := parseConfig([]byte(text), c)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		said := got.Warnings(c)
		if want == "" && len(said) > 0 || want != "" && (len(said) != 1 || !strings.HasPrefix(said[0], want)) {
			t.Errorf("%s: %q; want %q", text, said, want)
		}
	}
	for text, want := range map[string]string{
		"openpgp: {detached_command: [b]}":                       "sign.openpgp.detached_command: needs sign.openpgp.command",
		"openpgp: {key: k, detached_command: [b]}":               "sign.openpgp.detached_command: is for a",
		"openpgp: {command: [a], detached_command: ['', b]}":     "sign.openpgp.detached_command: the name of the program",
		"minisign: {command: [a], detached_command: [b]}":        "sign.minisign.detached_command: is for openpgp alone",
		"openpgp: {key: k, command: [a], detached_command: [b]}": "sign.openpgp: has a key and a command",
		"openpgp: {command: [a], detached_command: sign}":        `"sign", where a list is expected`,
	} {
		_, _, err := parseConfig([]byte("sign: {"+text+"}"), c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}
