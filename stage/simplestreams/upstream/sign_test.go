package upstream

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	signing "github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/clearsign"
)

// made is when the keys of tests were made.
var made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// signer makes a key; life is how long it is good, 0: for ever.
func signer(t testing.TB, life time.Duration) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Signer", "", "signer@example.com", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA,
		Time: func() time.Time { return made }, KeyLifetimeSecs: uint32(life / time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// public is a keyring with the public keys of some.
func public(t testing.TB, armored bool, list ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser = nopCloser{&out}
	if armored {
		var err error
		if w, err = armor.Encode(&out, openpgp.PublicKeyType, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range list {
		if err := e.Serialize(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// sign clearsigns a text.
func sign(t testing.TB, e *openpgp.Entity, hash crypto.Hash, text string) string {
	t.Helper()
	var out bytes.Buffer
	w, err := signing.Encode(&out, e.PrivateKey, &packet.Config{DefaultHash: hash,
		Time: func() time.Time { return made.Add(time.Hour) }})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// signed fills a server with clearsigned documents beside wrong plain ones. The index names
// the signed catalog, as the tools of Ubuntu write it.
func signed(t testing.TB, f *fake, by func(text string) string) {
	t.Helper()
	usual(f)
	index, cat := f.files[indexPath], f.files[catalogPath]
	f.put("streams/v1/index.sjson", by(strings.ReplaceAll(index, ".json", ".sjson")))
	f.put("streams/v1/images.sjson", by(cat))
	f.put(indexPath, "wrong")
	f.put(catalogPath, "wrong")
}

func TestSigned(t *testing.T) {
	ours, other := signer(t, 0), signer(t, 0)
	for name, ring := range map[string][]byte{"binary": public(t, false, ours), "armored": public(t, true, ours),
		"two": public(t, false, other, ours), "blocks": slices.Concat(public(t, true, other), []byte("\n\n"),
			public(t, true, ours), []byte("\n"), public(t, true, other))} {
		f := newFake(t)
		signed(t, f, func(text string) string { return "\n" + sign(t, ours, crypto.SHA512, text) + "\n\n" })
		if name == "two" { // an index that names the plain catalog means its signed copy too
			f.put("streams/v1/index.sjson", sign(t, ours, crypto.SHA256, usual(newFake(t)).files[indexPath]))
		}
		got, err := fetching(t, asking(Settings{Keyring: ring}), f.url, "*", newStore())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if index := string(got.Documents[indexPath]); !strings.Contains(index, catalogPath) ||
			got.Documents[catalogPath] == nil || strings.Contains(index, "sjson") {
			t.Errorf("%s: %s", name, index)
		}
		if f.asked(".json") > 0 {
			t.Errorf("%s: a plain document was asked for", name)
		}
	}
}

// What is not signed as it must be is of the class signature, and nothing is fetched.
func TestBadlySigned(t *testing.T) {
	ours, other, expired := signer(t, 0), signer(t, 0), signer(t, 2*time.Hour)
	ring := public(t, false, ours, expired)
	good := func(text string) string { return sign(t, ours, crypto.SHA256, text) }
	for name, c := range map[string]struct {
		by   func(text string) string
		text string
	}{
		"another signer":                 {func(s string) string { return sign(t, other, crypto.SHA256, s) }, "no good signature"},
		"an expired key":                 {func(s string) string { return sign(t, expired, crypto.SHA256, s) }, "no good signature"},
		"SHA-1":                          {func(s string) string { return byHand(t, ours, crypto.SHA1, s) }, "no good signature"},
		"not at all":                     {func(s string) string { return s }, "is not signed"},
		"text before":                    {func(s string) string { return "{}\n" + good(s) }, "text before"},
		"text behind":                    {func(s string) string { return good(s) + "\n{}" }, "text behind"},
		"a block before":                 {func(s string) string { return good("{}") + "\n" + good(s) }, "text behind"},
		"not at the beginning of a line": {func(s string) string { return "x " + good(s) }, "text before"},
		"an unknown header": {func(s string) string { return strings.Replace(good(s), "Hash: SHA256", "Comment: x", 1) },
			"not signed in a way"},
		"changed": {func(s string) string { return strings.Replace(good(s), "products:1.0", "products:1.1", 1) },
			"no good signature"},
		"cut": {func(s string) string { return good(s)[:400] }, "not signed in a way"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, which := range []string{"index", "images"} {
				f, to := newFake(t), newStore()
				signed(t, f, good)
				bad := newFake(t)
				signed(t, bad, c.by)
				path := "streams/v1/" + which + ".sjson"
				f.put(path, bad.files[path])
				_, err := fetching(t, asking(Settings{Keyring: ring}), f.url, "*", to)
				if name == "changed" && which == "index" && err == nil {
					continue // the index does not have what was changed
				}
				wantFailure(t, err, catalog.BadSignature, false, path, c.text)
				if len(to.have) > 0 {
					t.Error("something was fetched")
				}
			}
		})
	}
	for hash, want := range map[crypto.Hash]bool{crypto.SHA1: false, crypto.SHA256: true} { // only the hash makes it bad
		k, err := clearsign.ReadKeyring(ring)
		if err == nil {
			_, _, err = k.Open([]byte(byHand(t, ours, hash, "{}")), made.Add(24*time.Hour))
		}
		if (err == nil) != want {
			t.Errorf("%s: %v", hash, err)
		}
	}
	f := usual(newFake(t))
	_, err := fetching(t, asking(Settings{Keyring: ring}), f.url, "*", newStore())
	wantFailure(t, err, catalog.NotFound, false, "index.sjson")
	failed := new(catalog.RemoteError)
	if !errors.As(err, &failed) || !strings.Contains(failed.Hint, "keyring") {
		t.Errorf("hint %q", failed.Hint)
	}
	if _, err := asking(Settings{Keyring: []byte{}}).Pin(context.Background(), catalog.Remote{Canonical: f.url + "#*"}); err == nil {
		t.Error("an empty keyring is none")
	}
}

// byHand clearsigns with any hash, also with SHA-1, which the library does not do by itself.
func byHand(t testing.TB, e *openpgp.Entity, hash crypto.Hash, text string) string {
	t.Helper()
	sig := &packet.Signature{Version: e.PrivateKey.Version, SigType: packet.SigTypeText, PubKeyAlgo: e.PrivateKey.PubKeyAlgo,
		Hash: hash, CreationTime: made.Add(time.Hour), IssuerKeyId: &e.PrivateKey.KeyId}
	h, plain := hash.New(), false
	_, _ = io.WriteString(h, strings.ReplaceAll(text, "\n", "\r\n"))
	if err := sig.Sign(h, e.PrivateKey, &packet.Config{NonDeterministicSignaturesViaNotation: &plain}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString("-----BEGIN PGP SIGNED MESSAGE-----\nHash: " + strings.ReplaceAll(hash.String(), "-", "") + "\n\n" + text + "\n")
	w, err := armor.Encode(&out, "PGP SIGNATURE", nil)
	if err == nil {
		err = sig.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// What is opened was signed as it is, whatever stands around it.
func FuzzSigned(f *testing.F) {
	ours := signer(f, 0)
	ring, err := clearsign.ReadKeyring(public(f, false, ours))
	if err != nil {
		f.Fatal(err)
	}
	good := sign(f, ours, crypto.SHA256, `{"index":{}}`)
	for _, s := range []string{good, "x" + good, good + "x", good[:100], strings.Replace(good, "index", "x", 1),
		strings.ReplaceAll(good, "\n", "\r\n"), "-----BEGIN PGP SIGNED MESSAGE-----\n\n", byHand(f, ours, crypto.SHA1, "{}")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, _, err := ring.Open(data, made.Add(24*time.Hour))
		if err == nil && string(plain) != `{"index":{}}` {
			t.Errorf("%q was never signed", plain)
		}
	})
}

func FuzzKeyring(f *testing.F) {
	ours := signer(f, 0)
	f.Add(public(f, false, ours))
	f.Add(public(f, true, ours))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := clearsign.ReadKeyring(data); err == nil && len(k.Keys()) == 0 {
			t.Error("a keyring without keys")
		}
	})
}
