package upstream

import (
	"bytes"
	"crypto"
	"errors"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// keyring are the keys of which one must have signed a document.
type keyring struct{ keys openpgp.EntityList }

// beginArmored is the beginning of a block of keys.
var beginArmored = []byte("-----BEGIN PGP")

// readKeyring reads a keyring as gpg exports it, binary or armored; or several of one kind,
// one behind the other. The error goes on where the file was named.
func readKeyring(data []byte) (*keyring, error) {
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
	return &keyring{all}, nil
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

// strong are the hashes that count. For SHA-1 and MD5 two documents with one signature can
// be made. This is checked here: of the library, only its package v2 heeds
// RejectMessageHashAlgorithms.
var strong = []crypto.Hash{crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512}

// beginSigned is the first line of a clearsigned document.
var beginSigned = []byte("-----BEGIN PGP SIGNED MESSAGE-----")

// open returns what is signed of a clearsigned document (RFC 9580, section 7). The library
// passes over what stands around the block: a reader of the whole file would take that for
// signed too, so anything but blanks there is refused. The error goes on where the document
// was named.
func (k *keyring) open(data []byte, now time.Time) ([]byte, error) {
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
	sig, _, err := openpgp.VerifyDetachedSignature(k.keys, bytes.NewReader(block.Bytes), block.ArmoredSignature.Body,
		&packet.Config{Time: func() time.Time { return now }})
	if err == nil && !slices.Contains(strong, sig.Hash) {
		err = errors.New("its hash " + sig.Hash.String() + " is too weak")
	}
	if err != nil {
		return nil, errors.New("has no good signature by a key of the keyring: " + err.Error())
	}
	return block.Plaintext, nil
}
