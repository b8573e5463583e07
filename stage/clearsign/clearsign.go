// Package clearsign reads what others signed with OpenPGP: keyrings, and documents that are
// signed inside (RFC 9580, section 7).
//
// What it promises:
//
//   - What [Keyring.Open] returns is all that was signed, and the whole file says nothing else:
//     text around the signed part is refused.
//   - A signature counts if its key is in the keyring, is neither expired nor revoked, and if
//     its hash is not one for which two documents with one signature can be made.
//   - One good signature is enough. While a key is replaced, a document has signatures by the
//     old one and the new one, and readers have one of these keys.
package clearsign

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keyring are the keys of which one must have signed a document.
type Keyring struct{ keys openpgp.EntityList }

// beginArmored is the beginning of a block of keys.
var beginArmored = []byte("-----BEGIN PGP")

// ReadKeyring reads a keyring as gpg exports it, binary or armored; or several of one kind,
// one behind the other. The error goes on where the file was named.
func ReadKeyring(data []byte) (*Keyring, error) {
	read, blocks := openpgp.ReadKeyRing, [][]byte{data}
	if data := bytes.TrimSpace(data); bytes.HasPrefix(data, beginArmored) {
		read, blocks = openpgp.ReadArmoredKeyRing, armored(data)
	}
	var all openpgp.EntityList
	for _, block := range blocks {
		keys, err := read(bytes.NewReader(block))
		if err != nil || len(keys) == 0 {
			return nil, errors.New("has no public keys")
		}
		all = append(all, keys...)
	}
	return &Keyring{all}, nil
}

// armored returns the blocks of a text, of which the library reads the first alone.
func armored(data []byte) (blocks [][]byte) {
	for {
		i := bytes.Index(data[1:], beginArmored) + 1
		if i == 0 {
			return append(blocks, data)
		}
		blocks, data = append(blocks, data[:i]), data[i:]
	}
}

// Add adds the keys of another keyring.
func (k *Keyring) Add(other *Keyring) { k.keys = append(k.keys, other.keys...) }

// Keys are the fingerprints of the keys, in upper case, as gpg prints them.
func (k *Keyring) Keys() []string {
	out := make([]string, 0, len(k.keys))
	for _, e := range k.keys {
		out = append(out, fingerprint(e))
	}
	return out
}

// Secret reports whether one of the keys is a secret key.
func (k *Keyring) Secret() bool {
	return slices.ContainsFunc(k.keys, func(e *openpgp.Entity) bool { return e.PrivateKey != nil })
}

func fingerprint(e *openpgp.Entity) string {
	return strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint))
}

// strong are the hashes that count. For SHA-1 and MD5 two documents with one signature can
// be made. This is checked here: of the library, only its package v2 heeds
// RejectMessageHashAlgorithms.
var strong = []crypto.Hash{crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512}

// beginSigned is the first line of a clearsigned document.
var beginSigned = []byte("-----BEGIN PGP SIGNED MESSAGE-----")

// maxSignatures bounds those of one document: each is checked over all of it.
const maxSignatures = 16

// Signed is a document with a signature that nobody has checked yet.
type Signed struct {
	// Text is what is signed, without the line break at its end: that belongs to the
	// signature.
	Text       []byte
	canonical  []byte // as it is hashed
	signatures [][]byte
}

// Split takes a clearsigned document apart. The library passes over what stands around the
// block: a reader of the whole file would take that for signed too, so anything but blanks
// there is refused. The error goes on where the document was named.
func Split(data []byte) (*Signed, error) {
	data = bytes.TrimSpace(data)
	if !bytes.HasPrefix(data, beginSigned) {
		if bytes.Contains(data, beginSigned) {
			return nil, errors.New("has text before what is signed")
		}
		return nil, errors.New("is not signed")
	}
	block, rest := clearsign.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("is not signed in a way that is known")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("has text behind what is signed")
	}
	s := &Signed{Text: block.Plaintext, canonical: block.Bytes}
	var err error
	if s.signatures, err = signatures(block.ArmoredSignature.Body); err != nil {
		return nil, errors.New("is not signed in a way that is known: " + err.Error())
	}
	return s, nil
}

// signatures are the packets of a signature, one for each key.
func signatures(r io.Reader) (list [][]byte, err error) {
	packets := packet.NewOpaqueReader(r)
	for {
		p, err := packets.Next()
		switch {
		case err == io.EOF && len(list) > 0:
			return list, nil
		case err == io.EOF:
			return nil, errors.New("there is no signature")
		case err != nil:
			return nil, err
		case len(list) == maxSignatures:
			return nil, errors.New("there are too many signatures")
		}
		var one bytes.Buffer
		if err := p.Serialize(&one); err != nil {
			return nil, err
		}
		list = append(list, one.Bytes())
	}
}

// Open returns what is signed of a clearsigned document, as Signed.Text, and the fingerprint
// of the key that signed it. The error goes on where the document was named.
func (k *Keyring) Open(data []byte, now time.Time) (text []byte, by string, err error) {
	s, err := Split(data)
	if err != nil {
		return nil, "", err
	}
	if by, err = k.check(s.canonical, s.signatures, now); err != nil {
		return nil, "", err
	}
	return s.Text, by, nil
}

// Detached checks a signature that stands beside a file, binary or armored, and returns the
// fingerprint of the key. The error goes on where the signature was named.
func (k *Keyring) Detached(data, signature []byte, now time.Time) (by string, err error) {
	var r io.Reader = bytes.NewReader(signature)
	if text := bytes.TrimSpace(signature); bytes.HasPrefix(text, beginArmored) {
		block, err := armor.Decode(bytes.NewReader(text))
		if err != nil || block.Type != openpgp.SignatureType {
			return "", errors.New("is no signature of OpenPGP")
		}
		r = block.Body
	}
	list, err := signatures(r)
	if err != nil {
		return "", errors.New("is no signature of OpenPGP: " + err.Error())
	}
	return k.check(data, list, now)
}

// maxSkew is how far the clock of who signed may be ahead. The library takes a signature that is
// made later than now for one that has expired.
const maxSkew = 5 * time.Minute

// ErrUnknownKey is the answer to a signature by a key that the keyring does not have.
var ErrUnknownKey = errors.New("has no good signature by a key of the keyring")

// check returns the first key of the keyring with a good signature of some bytes.
func (k *Keyring) check(signed []byte, signatures [][]byte, now time.Time) (by string, err error) {
	var known error // of a key that the keyring has
	for _, one := range signatures {
		verify := func(now time.Time) (*packet.Signature, *openpgp.Entity, error) {
			return openpgp.VerifyDetachedSignature(k.keys, bytes.NewReader(signed), bytes.NewReader(one),
				&packet.Config{Time: func() time.Time { return now }})
		}
		sig, key, err := verify(now)
		if errors.Is(err, pgperrors.ErrSignatureExpired) && sig.CreationTime.After(now) &&
			!sig.CreationTime.After(now.Add(maxSkew)) {
			sig, key, err = verify(sig.CreationTime)
		}
		if err == nil && !slices.Contains(strong, sig.Hash) {
			err = errors.New("its hash " + sig.Hash.String() + " is too weak")
		}
		if err == nil {
			return fingerprint(key), nil
		}
		if !errors.Is(err, pgperrors.ErrUnknownIssuer) {
			known = fmt.Errorf("has no good signature by a key of the keyring: %w", err)
		}
	}
	return "", cmp.Or(known, ErrUnknownKey)
}
