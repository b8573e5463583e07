package sign

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"aead.dev/minisign"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/clearsign"
	"example.com/publish/stage/durable"
)

// Keyring is what signatures are checked with: public keys, of both kinds.
type Keyring struct {
	openpgp  *clearsign.Keyring // nil: there is none
	minisign []minisign.PublicKey
}

// OpenKeyring reads public keys from files: OpenPGP, armored or binary, and minisign. What a
// file has is told by its content. What is wrong with one is a [KeyError].
func OpenKeyring(files ...string) (*Keyring, error) {
	k := new(Keyring)
	for _, path := range files {
		f, err := durable.OpenNamed(path)
		if err != nil {
			return nil, unreadable(path, err)
		}
		data, err := durable.ReadBounded(f, maxKeys)
		if closing := f.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return nil, unreadable(path, err)
		}
		if bad := k.add(data); bad != nil {
			bad.Path = path
			return nil, bad
		}
	}
	return k, nil
}

const (
	hintPublic = "gpg --export KEY, or the file of minisign -G -p"
	hintShare  = "give out the public key only"
)

// add adds the keys of a file.
func (k *Keyring) add(data []byte) *KeyError {
	var public minisign.PublicKey
	var private minisign.PrivateKey
	switch {
	case public.UnmarshalText(data) == nil:
		k.minisign = append(k.minisign, public)
		return nil
	case private.UnmarshalText(data) == nil || minisign.IsEncrypted(data):
		return &KeyError{Fact: "is a secret key", Hint: hintShare}
	}
	ring, err := clearsign.ReadKeyring(data)
	switch {
	case err != nil:
		return &KeyError{Fact: "has no public key of OpenPGP or minisign", Hint: hintPublic}
	case ring.Secret():
		return &KeyError{Fact: "has a secret key", Hint: hintShare}
	case k.openpgp == nil:
		k.openpgp = ring
	default:
		k.openpgp.Add(ring)
	}
	return nil
}

// Has reports for which kinds of signatures there are keys.
func (k *Keyring) Has() (openpgp, minisign bool) { return k.openpgp != nil, len(k.minisign) > 0 }

// Suffixes are those of the files that may have a minisign signature by one of the keys.
func (k *Keyring) Suffixes() []string {
	out := []string{minisignEnd}
	for _, key := range k.minisign {
		out = append(out, "."+keyID(key.ID())+minisignEnd)
	}
	return out
}

// ErrUnknownKey is the answer to a signature by a key that the keyring does not have.
var ErrUnknownKey = clearsign.ErrUnknownKey

// Inline returns what is signed of a clearsigned document, as gpgv prints it, and the
// fingerprint of the key. The error goes on where the document was named.
func (k *Keyring) Inline(document []byte, now time.Time) (plain []byte, by string, err error) {
	if len(document) > 2*catalog.MaxDocument {
		return nil, "", fmt.Errorf("has more than %d bytes", 2*catalog.MaxDocument)
	}
	if k.openpgp == nil {
		return nil, "", ErrUnknownKey
	}
	text, by, err := k.openpgp.Open(document, now)
	if err != nil {
		return nil, "", err
	}
	return append(text, '\n'), by, nil
}

// MaxBeside bounds OpenPGP signatures beside a document, in bytes. One by a key that resists quantum
// computers has up to 70 kB when it is armored, and one of RSA 2 kB.
const MaxBeside = 1 << 20

// Beside checks an OpenPGP signature that lies beside a document, armored or binary, and returns the
// fingerprint of the key. The error goes on where the signature was named.
func (k *Keyring) Beside(document, signature []byte, now time.Time) (by string, err error) {
	switch {
	case len(signature) > MaxBeside:
		return "", fmt.Errorf("has more than %d bytes", MaxBeside)
	case k.openpgp == nil:
		return "", ErrUnknownKey
	}
	return k.openpgp.Detached(document, signature, now)
}

// Detached checks a minisign signature of data, and returns its trusted comment and the id of
// the key. The error goes on where the signature was named.
func (k *Keyring) Detached(data, signature []byte) (trusted, by string, err error) {
	if len(signature) > maxSignature {
		return "", "", fmt.Errorf("has more than %d bytes", maxSignature)
	}
	var sig minisign.Signature
	if err := sig.UnmarshalText(bytes.TrimRight(signature, "\r\n")); err != nil {
		return "", "", errors.New("is no signature of minisign")
	}
	for _, key := range k.minisign {
		if key.ID() != sig.KeyID {
			continue
		}
		if !minisign.Verify(key, data, signature) {
			return "", "", errors.New("is not a good signature")
		}
		if strings.ContainsAny(sig.TrustedComment, "\r\n") {
			return "", "", errors.New("its trusted comment is not one line")
		}
		return sig.TrustedComment, keyID(key.ID()), nil
	}
	return "", "", ErrUnknownKey
}
