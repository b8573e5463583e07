package sign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"aead.dev/minisign"
)

type minisignKey = minisign.PrivateKey

// maxSignature bounds a minisign signature, in bytes. minisign writes at most 8 kB of comment.
const maxSignature = 32 << 10

func (s *Signer) addMinisign(path string, data, passphrase []byte) error {
	var key minisign.PrivateKey
	var public minisign.PublicKey
	err := key.UnmarshalText(data)
	switch {
	case public.UnmarshalText(data) == nil:
		return &KeyError{path, "is a public key", "the key to sign with is what minisign -G writes to its file -s"}
	case err == nil:
	case !minisign.IsEncrypted(data):
		return &KeyError{path, "is no secret key of minisign", "minisign -G -s FILE"}
	case passphrase == nil:
		return &KeyError{path, "is encrypted, and there is no passphrase", hintPassphrase}
	default:
		if key, err = minisign.DecryptKey(string(passphrase), data); err != nil {
			return &KeyError{path, "the passphrase is wrong", "look at the file of the key passphrase_file"}
		}
	}
	s.minisign = append(s.minisign, &key)
	return nil
}

// signMinisign signs the hash of data: that is what minisign does since 0.10.
func (s *Signer) signMinisign(ctx context.Context, data []byte, trusted string) ([]Signature, error) {
	if len(s.minisign) == 0 {
		return nil, errors.New("there is no minisign key to sign with")
	}
	hashed := minisign.NewReader(bytes.NewReader(data))
	if _, err := io.Copy(io.Discard, hashed); err != nil {
		return nil, err
	}
	var out []Signature
	for i, k := range s.minisign {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		suffix := minisignEnd
		if i > 0 {
			suffix = "." + keyID(k.ID()) + suffix
		}
		out = append(out, Signature{suffix, hashed.SignWithComments(*k, trusted, "signature from publish")})
	}
	return out, nil
}

// keyID is the id of a key as minisign prints it.
func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }
