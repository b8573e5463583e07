package sign

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// made is when the keys of tests were made, and now when they are used.
var (
	made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now  = made.Add(24 * time.Hour)
)

// write writes a file that others cannot read.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// pair is an OpenPGP key: the files of its two halves.
type pair struct{ secret, public string }

// newPGP makes a key that is good for ever, or for a time.
func newPGP(t testing.TB, algorithm packet.PublicKeyAlgorithm, life time.Duration, passphrase string) pair {
	t.Helper()
	config := &packet.Config{Algorithm: algorithm, RSABits: 2048, Time: func() time.Time { return made },
		KeyLifetimeSecs: uint32(life / time.Second)}
	if algorithm == packet.PubKeyAlgoECDSA {
		config.Curve = packet.CurveNistP384
	}
	e := must(openpgp.NewEntity("Signer", "", "signer@example.com", config))(t)
	var p pair
	p.public = write(t, "public.asc", armored(t, openpgp.PublicKeyType, e.Serialize))
	if passphrase != "" {
		if err := e.EncryptPrivateKeys([]byte(passphrase), config); err != nil {
			t.Fatal(err)
		}
	}
	p.secret = write(t, "secret.asc", armored(t, openpgp.PrivateKeyType, func(w io.Writer) error {
		return e.SerializePrivateWithoutSigning(w, config)
	}))
	return p
}

func armored(t testing.TB, kind string, write func(io.Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	w := must(armor.Encode(&out, kind, nil))(t)
	if err := errors.Join(write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func newMinisign(t testing.TB) pair {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pair{write(t, "minisign.key", must(private.MarshalText())(t)),
		write(t, "minisign.pub", must(public.MarshalText())(t))}
}

// documents have what a clearsigned text makes hard, with what gpgv prints of them.
var documents = map[string][2]string{
	"JSON":            {"{\n  \"a\": 1\n}\n", "{\n  \"a\": 1\n}\n"},
	"no line break":   {"{}", "{}\n"},
	"nothing":         {"", "\n"},
	"one line break":  {"\n", "\n"},
	"many at the end": {"x\n\n\n", "x\n\n\n"},
	"dashes": {"-x\n- y\n-----BEGIN PGP SIGNATURE-----\n--\nz\n-",
		"-x\n- y\n-----BEGIN PGP SIGNATURE-----\n--\nz\n-\n"},
	"blanks":      {"x \ny\t \n \nz", "x\ny\n\nz\n"},
	"CR":          {"x\r\ny\rz\r\r\n\r\n", "x\ny\rz\n\n"},
	"bytes":       {"a\x00b\xff\xfe\x0c\x1a\n\u2028x\n", "a\x00b\xff\xfe\x0c\x1a\n\u2028x\n"},
	"From":        {"From x\nFrom y", "From x\nFrom y\n"},
	"a long line": {strings.Repeat("x", maxLine) + "\n", strings.Repeat("x", maxLine) + "\n"},
}

// What is signed is read again, by the same key alone, and one changed byte is noticed.
func TestInline(t *testing.T) {
	keys := map[string]pair{"EdDSA": newPGP(t, packet.PubKeyAlgoEdDSA, 0, ""),
		"Ed25519": newPGP(t, packet.PubKeyAlgoEd25519, 0, ""), "RSA": newPGP(t, packet.PubKeyAlgoRSA, 0, ""), "ECDSA": newPGP(t, packet.PubKeyAlgoECDSA, 0, "")}
	other := must(OpenKeyring(newPGP(t, packet.PubKeyAlgoEdDSA, 0, "").public))(t)
	for kind, key := range keys {
		ring := must(OpenKeyring(key.public))(t)
		s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(t)
		for name, d := range documents {
			out := must(s.Inline(context.Background(), []byte(d[0])))(t)
			plain, by, err := ring.Inline(out, now)
			if err != nil || string(plain) != d[1] || len(by) != 40 {
				t.Errorf("%s, %s: %q by %s, %v", kind, name, plain, by, err)
			}
			if _, _, err := other.Inline(out, now); err == nil {
				t.Errorf("%s, %s: another key is good too", kind, name)
			}
			i := bytes.Index(out, []byte("\n\n")) + 2
			for _, c := range []byte{'!', '\n'} {
				bad := bytes.Clone(out)
				bad = append(append(bad[:i:i], c), out[i:]...)
				if _, _, err := ring.Inline(bad, now); err == nil {
					t.Errorf("%s, %s: %q is signed too", kind, name, c)
				}
			}
		}
	}
}

// Whatever else the file says was not signed.
func TestInlineForged(t *testing.T) {
	key := newPGP(t, packet.PubKeyAlgoEdDSA, 0, "")
	ring := must(OpenKeyring(key.public))(t)
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(t)
	sign := func(text string) string { return string(must(s.Inline(context.Background(), []byte(text)))(t)) }
	good, second := sign("{}\n"), sign("{\"a\":1}\n")
	begin := strings.Index(good, "-----BEGIN PGP SIGNATURE")
	for name, bad := range map[string]string{
		"text before":           "{}\n" + good,
		"text behind":           good + "{}\n",
		"two":                   good + good,
		"no signature":          good[:begin],
		"cut":                   good[:len(good)-60],
		"no begin":              good[10:],
		"plain":                 "{}\n",
		"empty":                 "",
		"signature of another":  good[:begin] + second[strings.Index(second, "-----BEGIN PGP SIGNATURE"):],
		"a line added":          strings.Replace(good, "{}\n", "{}\n\n", 1),
		"an escaped line added": strings.Replace(good, "{}\n", "{}\n- x\n", 1),
		"a header":              strings.Replace(good, "Hash: SHA512\n", "Hash: SHA512\nNote: x\n", 1),
		"two signatures of it":  good + "\n" + good[begin:],
	} {
		if plain, _, err := ring.Inline([]byte(bad), now); err == nil {
			t.Errorf("%s: %q", name, plain)
		}
	}
	if _, _, err := ring.Inline([]byte("\n"+strings.ReplaceAll(good, "\n", "\r\n")+"\n"), now); err != nil {
		t.Error("sent with other line breaks:", err)
	}
}

// While a key is replaced, readers have the old key, or the new one, or both.
func TestInlineTwoKeys(t *testing.T) {
	old, next := newPGP(t, packet.PubKeyAlgoRSA, 48*time.Hour, ""), newPGP(t, packet.PubKeyAlgoEdDSA, 0, "")
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{old.secret, next.secret}}}, now))(t)
	out := must(s.Inline(context.Background(), []byte("{}")))(t)
	for _, files := range [][]string{{old.public}, {next.public}, {old.public, next.public}, {next.public, old.public}} {
		if _, _, err := must(OpenKeyring(files...))(t).Inline(out, now); err != nil {
			t.Error(err)
		}
	}
	after := now.Add(30 * 24 * time.Hour) // the old key has expired
	if _, _, err := must(OpenKeyring(old.public, next.public))(t).Inline(out, after); err != nil {
		t.Error(err)
	}
	if _, _, err := must(OpenKeyring(old.public))(t).Inline(out, after); err == nil {
		t.Error("an expired key is good")
	}
}

// The clock of who signed may be a little ahead.
func TestInlineSkew(t *testing.T) {
	key := newPGP(t, packet.PubKeyAlgoEdDSA, 0, "")
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(t)
	ring, out := must(OpenKeyring(key.public))(t), must(s.Inline(context.Background(), []byte("{}")))(t)
	for behind, want := range map[time.Duration]bool{time.Minute: true, 10 * time.Minute: false} {
		if _, _, err := ring.Inline(out, now.Add(-behind)); (err == nil) != want {
			t.Errorf("%s behind: %v", behind, err)
		}
	}
}

// JSON on one line, as other tools write it, is signed in lines that gpgv can read.
func TestLongLines(t *testing.T) {
	var doc strings.Builder
	doc.WriteString(`{"text, with: {marks} and \" \\": "x"`)
	for doc.Len() < 100_000 {
		doc.WriteString(`, "some, key": ["a, b", -1, {"-": null}]`)
	}
	doc.WriteString("}")
	text := must(layOut([]byte(doc.String())))(t)
	if got := strings.ReplaceAll(string(text), "\n", ""); got != strings.ReplaceAll(doc.String(), "\n", "") &&
		strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(doc.String(), " ", "") {
		t.Error("another text")
	}
	for _, line := range strings.Split(string(text), "\n") {
		if len(line) > maxLine {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	for _, bad := range []string{strings.Repeat("x", maxLine+1), `{"a":"` + strings.Repeat("x,", maxLine) + `"}`} {
		if text, err := layOut([]byte(bad)); err == nil {
			t.Errorf("%d bytes laid out", len(text))
		}
	}
}

func TestDetached(t *testing.T) {
	a, b, other := newMinisign(t), newMinisign(t), newMinisign(t)
	s := must(Open(Options{Minisign: KeyOptions{Keys: []string{a.secret, b.secret}}}, now))(t)
	data, trusted := []byte("data"), "generation:1 time:2026-01-01T00:00:00Z"
	list := must(s.Detached(context.Background(), data, trusted))(t)
	if len(list) != 2 || list[0].Suffix != ".minisig" || len(list[1].Suffix) != len("..minisig")+16 {
		t.Fatal(list)
	}
	next := must(s.Detached(context.Background(), []byte("other"), trusted))(t)[0].Data
	for i, key := range []pair{a, b} {
		ring, sig := must(OpenKeyring(other.public, key.public))(t), list[i].Data
		said, by, err := ring.Detached(data, sig)
		if err != nil || said != trusted || len(by) != 16 || !strings.Contains(strings.Join(ring.Suffixes(), " "), by) {
			t.Errorf("%q by %s, %v", said, by, err)
		}
		lines := strings.SplitAfter(string(sig), "\n")
		for name, bad := range map[string]string{
			"cut":             string(sig[:len(sig)-10]),
			"two":             string(sig) + string(sig),
			"comment":         strings.Replace(string(sig), "generation:1", "generation:2", 1),
			"of another file": string(next),
			"empty":           "",
			"without comment": strings.Join(lines[:2], ""),
			"text behind":     string(sig) + "x\n",
		} {
			if _, _, err := ring.Detached(data, []byte(bad)); err == nil {
				t.Errorf("%s is good", name)
			}
		}
		if _, _, err := ring.Detached([]byte("datb"), sig); err == nil || errors.Is(err, ErrUnknownKey) {
			t.Error("changed data:", err)
		}
		if _, _, err := must(OpenKeyring(other.public))(t).Detached(data, sig); !errors.Is(err, ErrUnknownKey) {
			t.Error("another key:", err)
		}
	}
	if _, err := s.Detached(context.Background(), data, "a\nb"); err == nil {
		t.Error("a comment of two lines")
	}
}

// A key with which something is wrong is refused before anything is signed, and says why.
func TestRefusedKeys(t *testing.T) {
	good, small := newPGP(t, packet.PubKeyAlgoEdDSA, 0, ""), newMinisign(t)
	locked := newPGP(t, packet.PubKeyAlgoEdDSA, 0, "secret")
	lockedSmall := write(t, "locked.key", must(os.ReadFile("testdata/locked.key"))(t))
	expired := newPGP(t, packet.PubKeyAlgoEdDSA, time.Hour, "")
	wide, shared := newPGP(t, packet.PubKeyAlgoEdDSA, 0, ""), newMinisign(t)
	for path, mode := range map[string]os.FileMode{wide.secret: 0o640, shared.secret: 0o604} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	wrong, right := write(t, "wrong", []byte("wrong\n")), write(t, "right", []byte("secret\n"))
	open := write(t, "open", []byte("secret\n"))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    Options
		fact string // "": it is opened
	}{
		{Options{}, ""},
		{Options{OpenPGP: KeyOptions{Keys: []string{good.secret}}, Minisign: KeyOptions{Keys: []string{small.secret}}}, ""},
		{Options{OpenPGP: KeyOptions{Keys: []string{locked.secret, good.secret}, PassphraseFile: right}}, ""},
		{Options{OpenPGP: KeyOptions{Keys: []string{locked.secret}}}, "encrypted"},
		{Options{OpenPGP: KeyOptions{Keys: []string{locked.secret}, PassphraseFile: wrong}}, "passphrase is wrong"},
		{Options{OpenPGP: KeyOptions{Keys: []string{locked.secret}, PassphraseFile: open}}, "group or others"},
		{Options{OpenPGP: KeyOptions{Keys: []string{locked.secret}, PassphraseFile: "/nowhere"}}, "no such file"},
		{Options{OpenPGP: KeyOptions{Keys: []string{good.secret, expired.secret}}}, "is expired"},
		{Options{OpenPGP: KeyOptions{Keys: []string{good.public}}}, "is a public key"},
		{Options{OpenPGP: KeyOptions{Keys: []string{wide.secret}}}, "group or others"},
		{Options{OpenPGP: KeyOptions{Keys: []string{small.secret}}}, "no OpenPGP key"},
		{Options{OpenPGP: KeyOptions{Keys: []string{"/nowhere"}}}, "no such file"},
		{Options{OpenPGP: KeyOptions{Keys: []string{t.TempDir()}}}, "not a"},
		{Options{OpenPGP: KeyOptions{Keys: []string{good.secret}, Command: []string{"true"}}}, "a command"},
		{Options{Minisign: KeyOptions{Keys: []string{shared.secret}}}, "group or others"},
		{Options{Minisign: KeyOptions{Keys: []string{small.public}}}, "is a public key"},
		{Options{Minisign: KeyOptions{Keys: []string{lockedSmall}}}, "encrypted"},
		{Options{Minisign: KeyOptions{Keys: []string{lockedSmall}, PassphraseFile: wrong}}, "passphrase is wrong"},
		{Options{Minisign: KeyOptions{Keys: []string{good.secret}}}, "no secret key of minisign"},
	} {
		_, err := Open(c.o, now)
		bad := new(KeyError)
		switch {
		case c.fact == "" && err != nil:
			t.Errorf("%+v: %v", c.o, err)
		case c.fact != "" && (!errors.As(err, &bad) || bad.Path == "" || !strings.Contains(bad.Fact, c.fact)):
			t.Errorf("%+v: %v, want %s", c.o, err, c.fact)
		}
	}
	for file, fact := range map[string]string{good.secret: "secret key", small.secret: "secret key",
		right: "no public key", "/nowhere": "no such file"} {
		bad := new(KeyError)
		if _, err := OpenKeyring(good.public, file); !errors.As(err, &bad) || !strings.Contains(bad.Fact, fact) {
			t.Errorf("%s: %v, want %s", file, err, fact)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(wide.secret))
	if _, err := Open(Options{OpenPGP: KeyOptions{Keys: []string{wide.secret}}}, now); err != nil {
		t.Error("a credential of systemd:", err)
	}
}

// A unit has the key as a credential: the file that publish.yaml names need not be readable.
func TestCredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	own := filepath.Join(t.TempDir(), "key.asc")
	read := func(want string) {
		t.Helper()
		if data, err := readSecret(own); err != nil || string(data) != want {
			t.Errorf("%q, %v; want %q", data, err, want)
		}
	}
	if _, err := readSecret(own); err == nil {
		t.Error("a key that is nowhere was read")
	}
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "key.asc"), "credential", 0o440)
	read("credential")
	write(own, "file", 0o600)
	read("credential")
	if err := os.Remove(filepath.Join(dir, "key.asc")); err != nil {
		t.Fatal(err)
	}
	read("file")
	write(filepath.Join(dir, "key.asc"), "none", 0o440) // the unit found no file to hand over
	read("file")
}
