package clearsign

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// SplitDetached takes a signature that stands beside data apart, armored or binary, and checks
// all of it that needs no key: each packet is a signature of data, of a kind that counts for
// [Keyring.Detached]. It returns the packets. The error goes on where the signature was named.
//
// A signature of text is refused: it is of other bytes, with other line breaks, and gpg drops the
// end of a line of more than 19,995 characters before it compares. JSON is often one line.
func SplitDetached(data, signature []byte) (packets []byte, err error) {
	var r io.Reader = bytes.NewReader(signature)
	switch text := bytes.TrimSpace(signature); {
	case bytes.HasPrefix(text, beginSigned):
		return nil, errors.New("is a clearsigned text, and not a signature that stands beside a document")
	case bytes.HasPrefix(text, beginArmored):
		block, err := armor.Decode(bytes.NewReader(text))
		switch {
		case err != nil:
			return nil, errors.New("is not armored in a way that is known")
		case block.Type != openpgp.SignatureType:
			return nil, errors.New("is a " + block.Type + ", and not a signature that stands beside a document")
		case len(armored(text)) > 1:
			return nil, errors.New("has more than one armored block")
		}
		r = block.Body
	}
	list, err := signatures(r)
	if err != nil {
		return nil, errors.New("is no signature of OpenPGP: " + err.Error())
	}
	for _, one := range list {
		if err := claims(one, data); err != nil {
			return nil, err
		}
	}
	return bytes.Join(list, nil), nil
}

// claims checks that a packet is a signature of data. Of the hash, a signature has two bytes that
// anybody can read: most signatures of other bytes have others.
func claims(one, data []byte) error {
	p, err := packet.Read(bytes.NewReader(one))
	sig, ok := p.(*packet.Signature)
	switch {
	case !ok:
		return errors.New("has something that is no signature, such as what is signed")
	case err != nil:
		return errors.New("has a signature of a kind that is not known: " + err.Error())
	case sig.SigType == packet.SigTypeText:
		return errors.New("is a signature of text: gpg cannot check it for a line of more than 19,995 characters")
	case sig.SigType != packet.SigTypeBinary:
		return errors.New("is no signature of a document, but of a key")
	case !slices.Contains(strong, sig.Hash):
		return errors.New("has a signature whose hash " + sig.Hash.String() + " is too weak")
	}
	h, err := sig.PrepareVerify()
	if err != nil {
		return errors.New("has a signature of a kind that is not known: " + err.Error())
	}
	h.Write(data)
	h.Write(sig.HashSuffix)
	if !bytes.Equal(h.Sum(nil)[:len(sig.HashTag)], sig.HashTag[:]) {
		return errors.New("is a signature of other bytes")
	}
	return nil
}
