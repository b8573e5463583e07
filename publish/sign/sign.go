// Package sign makes the signatures of a generation, and checks them.
//
// There are two kinds. OpenPGP signs a document of a format inside (Inline): clients of that
// format know what to do with it. A minisign signature stands beside one file, the [Listing]
// of all files of a generation: so a client of any format sees that a file was changed, that
// it gets an older generation than before, or that nothing new came for too long.
//
// What it promises:
//
//   - Keys are read once, by [Open], and a key with which something is wrong is refused then:
//     not after the long part of a promote.
//   - What [Signer.Inline] signs is what gpgv prints of it, byte for byte. A document that a
//     clearsigned text cannot hold is laid out in another way, if it is JSON, or refused.
//   - A command that signs instead of a key is not believed: what it returns must be a
//     signature of these bytes, and nothing else.
//   - What is read from elsewhere is bounded: keys, signatures, listings.
package sign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/publish/stage/durable"
)

// Options are what publish.yaml says below sign, and how commands run.
type Options struct {
	OpenPGP, Minisign KeyOptions
	// Beside is a command, for OpenPGP.Command: bytes in, and out comes an OpenPGP signature to put
	// beside the document, armored or binary. Without it there is none.
	Beside []string

	Dir   string        // where commands run; "": here
	Limit time.Duration // how long one may take, so that a revert does not hang on a device; 0: for ever
}

// KeyOptions are how to sign in one way.
type KeyOptions struct {
	Keys           []string // files; several sign at once while a key is replaced
	PassphraseFile string   // of the keys that are encrypted; "" for none
	// Command signs instead of keys: it reads the bytes from standard input and writes the
	// signature to standard output: a clearsigned document, or a minisign signature whose
	// trusted comment is the value of the variable TrustedVariable.
	Command []string
}

func (o KeyOptions) set() bool { return len(o.Keys) > 0 || len(o.Command) > 0 }

// Set reports which signatures are made.
func (o Options) Set() (openpgp, minisign bool) { return o.OpenPGP.set(), o.Minisign.set() }

// KeyError is a key, or a file of keys, that cannot be used.
type KeyError struct {
	Path string
	Fact string // lower case, without the path
	Hint string // the remedy; may be empty
}

func (e *KeyError) Error() string { return e.Path + ": " + e.Fact }

// Signer has the keys.
type Signer struct {
	at       time.Time
	openpgp  []*secret
	inline   []string // the command
	beside   []string // the command
	minisign []*minisignKey
	detached []string // the command
	dir      string
	limit    time.Duration
}

// Open reads the keys. A [KeyError] is the answer to a key file that others can read, to an
// encrypted key without its passphrase, to a public key, and to a key that is expired or
// revoked at now. OpenPGP signatures are made as of now.
func Open(o Options, now time.Time) (*Signer, error) {
	s := &Signer{at: now, inline: o.OpenPGP.Command, beside: o.Beside, detached: o.Minisign.Command,
		dir: o.Dir, limit: o.Limit}
	for _, k := range []struct {
		of   KeyOptions
		read func(path string, data, passphrase []byte) error
	}{{o.OpenPGP, s.addOpenPGP}, {o.Minisign, s.addMinisign}} {
		if len(k.of.Keys) > 0 && len(k.of.Command) > 0 {
			return nil, &KeyError{k.of.Keys[0], "there is a command to sign with, too",
				"sign with keys, or with a command"}
		}
		var passphrase []byte
		if k.of.PassphraseFile != "" && len(k.of.Keys) > 0 {
			data, err := readSecret(k.of.PassphraseFile)
			if err != nil {
				return nil, err
			}
			passphrase = []byte(strings.TrimRight(string(data), "\r\n"))
		}
		for _, path := range k.of.Keys {
			data, err := readSecret(path)
			if err == nil {
				err = k.read(path, data, passphrase)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// maxKeys bounds a file of keys, in bytes. The keyring of a distribution has some 100 kB.
const maxKeys = 4 << 20

// absent is what the units of systemd hand over for a key that is not there (SetCredential=).
const absent = "none"

// readSecret reads a secret file, or the credential of the same name that systemd hands over to
// this process: so publish.yaml names one path, for units and for people, and the file may be
// root's.
func readSecret(path string) ([]byte, error) {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		at := filepath.Join(dir, filepath.Base(path))
		if _, err := os.Lstat(at); err == nil {
			if data, err := readPrivate(at); err != nil || string(data) != absent {
				return data, err
			}
		}
	}
	return readPrivate(path)
}

// readPrivate reads a file that nobody else may read or write.
func readPrivate(path string) ([]byte, error) {
	f, err := durable.OpenNamed(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case !fi.Mode().IsRegular():
		return nil, &KeyError{Path: path, Fact: "is not a file"}
	case fi.Mode().Perm()&open(path) != 0:
		return nil, &KeyError{path, "group or others can read or write it (mode " +
			fmt.Sprintf("%#o", fi.Mode().Perm()) + ")", "chmod 600 " + path}
	}
	data, err := durable.ReadBounded(f, maxKeys)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return data, nil
}

// open are the permissions that are too many for a file. Credentials of systemd are the
// user's by an access list: they look as if the group could read them, and it cannot.
func open(path string) fs.FileMode {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		return 0o026
	}
	return 0o066
}

func unreadable(path string, err error) error {
	if at := new(fs.PathError); errors.As(err, &at) {
		err = at.Err // it has the path too
	}
	return &KeyError{Path: path, Fact: err.Error()}
}

// Inline returns the document signed inside (RFC 9580, section 7), by all keys at once. Of a
// document that is not laid out as a clearsigned text has to be, the signed one is: it ends
// with a line break, its lines do not end with blanks, and if it is JSON they are not too
// long.
func (s *Signer) Inline(ctx context.Context, document []byte) ([]byte, error) {
	text, err := layOut(document)
	if err != nil {
		return nil, err
	}
	if len(s.inline) > 0 {
		return s.byCommand(ctx, text)
	}
	return s.clearsign(ctx, text)
}

// Made reports whether one of the keys signed a clearsigned document, or may have: what a command
// signs with is not known.
func (s *Signer) Made(document []byte) bool {
	if len(s.openpgp) == 0 {
		return true
	}
	_, _, err := s.keyring().Open(document, s.at)
	return !errors.Is(err, ErrUnknownKey)
}

// Beside returns OpenPGP signatures of a document to put beside it, armored, by all keys at once.
// Where a command signs instead, another command does it, because the first returns a clearsigned
// text; nil if there is none.
func (s *Signer) Beside(ctx context.Context, document []byte) ([]byte, error) {
	switch {
	case len(s.inline) == 0:
		return s.armored(ctx, document)
	case len(s.beside) == 0:
		return nil, nil
	}
	return s.besideByCommand(ctx, document)
}

// Signature is a file to put beside the one that is signed.
type Signature struct {
	Suffix string // of its name: .minisig, or .KEYID.minisig
	Data   []byte
}

// Detached returns minisign signatures of data, one for each key, with a trusted comment. The
// first has the name that all clients know.
func (s *Signer) Detached(ctx context.Context, data []byte, trusted string) ([]Signature, error) {
	if strings.ContainsAny(trusted, "\r\n") {
		return nil, errors.New("the trusted comment of a signature is one line")
	}
	if len(s.detached) > 0 {
		return s.minisignByCommand(ctx, data, trusted)
	}
	return s.signMinisign(ctx, data, trusted)
}
