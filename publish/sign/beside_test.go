package sign

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"example.com/publish/publish/fault"
)

// besideBy is a signer whose command for signatures beside documents is a script.
func besideBy(t testing.TB, dir, script string) *Signer {
	t.Helper()
	return must(Open(Options{OpenPGP: KeyOptions{Command: []string{"false"}},
		Beside: []string{"sh", "-c", script}, Dir: dir, Limit: time.Minute}, now))(t)
}

// dearmored are the bytes of an armored block.
func dearmored(t testing.TB, text []byte) []byte {
	t.Helper()
	block := must(armor.Decode(bytes.NewReader(text)))(t)
	return must(io.ReadAll(block.Body))(t)
}

// padded is a signature with more bytes in its part that is not hashed.
func padded(signature []byte, n int) []byte {
	body := signature[2:]
	hashed := 6 + int(binary.BigEndian.Uint16(body[4:]))
	more := append(binary.BigEndian.AppendUint32([]byte{0xff}, uint32(n)), make([]byte, n)...)
	more[5] = 100 // a private kind
	out := append(bytes.Clone(body[:hashed]), binary.BigEndian.AppendUint16(nil, uint16(len(more)))...)
	out = append(append(out, more...), body[hashed+2:]...)
	return append(binary.BigEndian.AppendUint32([]byte{0xc2, 0xff}, uint32(len(out))), out...)
}

// A command that signs beside documents is not believed: what it returns is a signature of these
// bytes, or an error that says what it is.
func TestBesideCommand(t *testing.T) {
	document := []byte(`["` + strings.Repeat(`x","`, 20_000) + `"]` + " \r\n")
	key, next := newPGP(t, packet.PubKeyAlgoEdDSA, 0, ""), newPGP(t, packet.PubKeyAlgoRSA, 0, "")
	own := func(keys ...string) *Signer { return must(Open(Options{OpenPGP: KeyOptions{Keys: keys}}, now))(t) }
	by := func(s *Signer, of []byte) []byte { return must(s.Beside(context.Background(), of))(t) }
	first := by(own(key.secret), document)
	both, raw := by(own(key.secret, next.secret), document), dearmored(t, first)
	e := own(key.secret).openpgp[0].entity
	config := &packet.Config{Time: func() time.Time { return now }}
	write := func(how func(out io.Writer) error) []byte {
		var out bytes.Buffer
		if err := how(&out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	text := write(func(out io.Writer) error { return openpgp.DetachSignText(out, e, bytes.NewReader(document), config) })
	inside := write(func(out io.Writer) error {
		w, err := openpgp.Sign(out, e, nil, config)
		if err == nil {
			_, err = w.Write(document)
			err = errors.Join(err, w.Close())
		}
		return err
	})
	// The octets of a signature: version, type, algorithm, hash.
	octets := func(was, is string) []byte {
		if bytes.Count(raw, []byte(was)) != 1 {
			t.Fatalf("% x is not in % x", was, raw)
		}
		return bytes.Replace(raw, []byte(was), []byte(is), 1)
	}
	later := bytes.Clone(raw) // the time is hashed with the document
	at := bytes.Index(raw, []byte("\x05\x82"+string(binary.BigEndian.AppendUint32(nil, uint32(now.Unix())))))
	later[at+5] ^= 1
	wrap := func(kind string, data []byte) []byte {
		return armored(t, kind, func(w io.Writer) error { _, err := w.Write(data); return err })
	}
	for name, c := range map[string]struct {
		out  []byte
		fact string // "": it is taken
	}{
		"armored":          {first, ""},
		"binary":           {raw, ""},
		"two keys":         {both, ""},
		"two keys, binary": {dearmored(t, both), ""},
		"CR":               {bytes.ReplaceAll(first, newline, []byte("\r\n")), ""},

		"nothing":                {nil, "there is no signature"},
		"words":                  {[]byte("signed\n"), "is no signature of OpenPGP"},
		"the document":           {document, "is no signature of OpenPGP"},
		"cut":                    {raw[:len(raw)-3], "is no signature of OpenPGP"},
		"armored, cut":           {first[:40], "is no"},
		"clearsigned":            {must(own(key.secret).Inline(context.Background(), document))(t), "is a clearsigned text"},
		"of text":                {text, "is a signature of text"},
		"of text, armored":       {wrap(openpgp.SignatureType, text), "is a signature of text"},
		"of text, second":        {append(bytes.Clone(raw), text...), "is a signature of text"},
		"of a key":               {octets("\x04\x00\x16\x0a", "\x04\x10\x16\x0a"), "but of a key"},
		"SHA-1":                  {octets("\x04\x00\x16\x0a", "\x04\x00\x16\x02"), "too weak"},
		"MD5":                    {octets("\x04\x00\x16\x0a", "\x04\x00\x16\x01"), "hash function 1"},
		"an unknown algorithm":   {octets("\x04\x00\x16\x0a", "\x04\x00\x70\x0a"), "is not known"},
		"another time":           {later, "of other bytes"},
		"of other bytes":         {by(own(key.secret), document[:len(document)-1]), "of other bytes"},
		"of other bytes, second": {append(bytes.Clone(raw), dearmored(t, by(own(key.secret), nil))...), "of other bytes"},
		"signed inside":          {inside, "is no signature"},
		"signed inside, armor":   {wrap("PGP MESSAGE", inside), "is a PGP MESSAGE"},
		"a key":                  {write(e.Serialize), "is no signature"},
		"a key, second":          {append(bytes.Clone(raw), write(e.Serialize)...), "is no signature"},
		"a key, armored":         {armored(t, openpgp.PublicKeyType, e.Serialize), "is a PGP PUBLIC KEY BLOCK"},
		"two blocks":             {append(bytes.Clone(first), first...), "more than one armored block"},
		"words before":           {append([]byte("signed\n"), first...), "is no signature of OpenPGP"},
		"words in the block":     {bytes.Replace(first, []byte("\n\n"), []byte("\n\n#!\n"), 1), "is no"},
		"large":                  {bytes.Repeat(padded(raw, 60_000), 9), "more than 524288 bytes"},
		"too many":               {bytes.Repeat(raw, 17), "too many signatures"},
		"a signature of nobody":  {[]byte{0xc2, 0x01, 0x04}, "is not known"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "out"), c.out, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := besideBy(t, dir, "cat >in; cat out").Beside(context.Background(), document)
		if in := must(os.ReadFile(filepath.Join(dir, "in")))(t); !bytes.Equal(in, document) {
			t.Errorf("%s: it got %d bytes", name, len(in))
		}
		if bad := new(fault.Error); c.fact != "" {
			if !errors.As(err, &bad) || bad.Path != "sh" || !strings.Contains(bad.Fact, c.fact) ||
				!strings.Contains(bad.Hint, "--detach-sign") {
				t.Errorf("%s: %q, %v; want %s", name, out, err, c.fact)
			}
			continue
		}
		if err != nil || !bytes.HasPrefix(out, []byte("-----BEGIN PGP SIGNATURE-----\n\n")) {
			t.Errorf("%s: %q, %v", name, out, err)
			continue
		}
		ring := must(OpenKeyring(key.public))(t)
		if id, err := ring.Beside(document, out, now); err != nil || len(id) != 40 {
			t.Errorf("%s: %s, %v", name, id, err)
		}
		if _, err := ring.Beside(document[1:], out, now); err == nil || errors.Is(err, ErrUnknownKey) {
			t.Errorf("%s: other bytes: %v", name, err)
		}
		_, err = must(OpenKeyring(next.public))(t).Beside(document, out, now)
		if (err == nil) != strings.Contains(name, "two") {
			t.Errorf("%s: another key: %v", name, err)
		}
	}
}

// A command that fails, hangs or writes without end is an error that names it.
func TestBesideFails(t *testing.T) {
	for script, fact := range map[string]string{
		"echo no device >&2; exit 3": "no device",
		"exec sleep 1000":            "did not end within 200ms",
		"cat /dev/zero":              "more than",
	} {
		s := besideBy(t, t.TempDir(), script)
		if s.limit = 200 * time.Millisecond; strings.Contains(script, "zero") {
			s.limit = time.Minute
		}
		if out, err := s.Beside(context.Background(), []byte("{}")); err == nil || !strings.Contains(err.Error(), fact) ||
			!strings.HasPrefix(err.Error(), "sh: ") {
			t.Errorf("%s: %q, %v", script, out, err)
		}
	}
	s := must(Open(Options{OpenPGP: KeyOptions{Command: []string{"false"}}}, now))(t)
	if out, err := s.Beside(context.Background(), []byte("{}")); out != nil || err != nil {
		t.Errorf("without a command: %q, %v", out, err)
	}
	ring := must(OpenKeyring(newPGP(t, packet.PubKeyAlgoEdDSA, 0, "").public))(t)
	_, err := ring.Beside(nil, make([]byte, MaxBeside+1), now)
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error("a huge signature:", err)
	}
	if _, err := new(Keyring).Beside(nil, nil, now); !errors.Is(err, ErrUnknownKey) {
		t.Error("without keys:", err)
	}
}

// gpg as the command: gpgv takes what is written.
func TestBesideGPG(t *testing.T) {
	g := newGPG(t)
	long := []byte(`{"text":"` + strings.Repeat("a, ", 20_000) + `"}`)
	file := write(t, "document", long)
	for _, algorithm := range []string{"ed25519", "rsa2048", "nistp384"} {
		name := algorithm + "@example.com"
		key := g.key(name, algorithm, "never", "")
		ring := must(OpenKeyring(key.public))(t)
		for flags, fact := range map[string]string{
			"--detach-sign --armor":                 "",
			"--detach-sign":                         "",
			"--detach-sign --textmode":              "is a signature of text",
			"--clearsign":                           "is a clearsigned text",
			"--sign":                                "is no signature",
			"--sign --armor":                        "is a PGP MESSAGE",
			"--detach-sign --digest-algo RIPEMD160": "hash function 3",
		} {
			if algorithm == "nistp384" && strings.Contains(flags, "RIPEMD") {
				continue // gpg takes a longer one for this key
			}
			document, s := long, besideBy(t, g.home, "exec gpg --homedir . --batch --quiet --local-user "+name+" "+flags)
			if strings.Contains(flags, "textmode") { // of a longer line gpg makes none
				document = []byte("{}\n")
			}
			out, err := s.Beside(context.Background(), document)
			if fact != "" {
				if err == nil || !strings.Contains(err.Error(), fact) {
					t.Errorf("%s, %s: %q, %v", algorithm, flags, out, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %s: %v", algorithm, flags, err)
				continue
			}
			if _, err := ring.Beside(document, out, time.Now().Add(time.Hour)); err != nil {
				t.Errorf("%s, %s: %v", algorithm, flags, err)
			}
			argv := []string{"gpgv", "--homedir", g.home, "--keyring", key.public, write(t, "document.gpg", out), file}
			if _, err := tool(t, g.home, nil, argv...); err != nil {
				t.Errorf("%s, %s: %v", algorithm, flags, err)
			}
		}
	}
}
