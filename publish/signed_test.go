package publish

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"aead.dev/minisign"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/simplestreams"
)

// signers are the keys of a repository, as files beside it, with what clients have of them.
type signers struct {
	config string // the key sign of publish.yaml
	keys   SignConfig
	*sign.Keyring
	public string // the OpenPGP key, binary: the file that gpgv reads
}

// keysMade is when the keys of tests were made: before now, because gpgv has a clock of its own.
var keysMade = time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)

// newSigners makes keys without external programs.
func newSigners(t testing.TB) *signers {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, data []byte, err error) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if err = errors.Join(err, os.WriteFile(at, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		return at
	}
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return keysMade }}
	e, err := openpgp.NewEntity("Signer", "", "signer@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	var secret, public bytes.Buffer
	w, err := armor.Encode(&secret, openpgp.PrivateKeyType, nil)
	if err == nil {
		err = errors.Join(e.SerializePrivateWithoutSigning(w, config), w.Close(), e.Serialize(&public))
	}
	pgp := file("secret.asc", secret.Bytes(), err)
	open, closed, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := closed.MarshalText()
	mini := file("minisign.key", text, err)
	text, err = open.MarshalText()
	s := &signers{public: file("public.gpg", public.Bytes(), nil),
		config: fmt.Sprintf("sign:\n  openpgp: {key: %s}\n  minisign: {key: %s}\n", pgp, mini)}
	s.keys.OpenPGP.Key, s.keys.Minisign.Key = Keys{pgp}, Keys{mini}
	if s.Keyring, err = sign.OpenKeyring(s.public, file("minisign.pub", text, err)); err != nil {
		t.Fatal(err)
	}
	return s
}

// sign configures a repository to sign.
func (s *signers) sign(c *Config) { c.Sign = s.keys }

// readFunc reads a file of one tree.
type readFunc func(path string) ([]byte, error)

func in(dir string) readFunc {
	return func(p string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, filepath.FromSlash(p))) }
}

// errTwo says that what was read is of two generations.
var errTwo = errors.New("the list and its signature are of two generations")

// listing reads and checks the list of a tree's files.
func (s *signers) listing(read readFunc) (*sign.Listing, error) {
	text, err := read(sign.ListingName)
	if err != nil {
		return nil, err
	}
	signature, err := read(sign.ListingName + ".minisig")
	if err != nil {
		return nil, err
	}
	l, err := sign.ParseListing(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", sign.ListingName, err)
	}
	trusted, _, err := s.Detached(text, signature)
	if err != nil {
		var raw minisign.Signature
		if n, _, bad := sign.ParseTrusted(trustedOf(signature, &raw)); bad == nil && n != l.Generation {
			return nil, errTwo
		}
		return nil, fmt.Errorf("%s.minisig %w", sign.ListingName, err)
	}
	if trusted != l.Trusted() {
		return nil, fmt.Errorf("the trusted comment is %q", trusted)
	}
	return l, nil
}

func trustedOf(signature []byte, raw *minisign.Signature) string {
	_ = raw.UnmarshalText(bytes.TrimSpace(signature))
	return raw.TrustedComment
}

// beside checks a signature that lies beside a document.
func (s *signers) beside(document, signature []byte, now func() time.Time) error {
	key, err := os.Open(s.public)
	if err != nil {
		return err
	}
	defer key.Close()
	ring, err := openpgp.ReadKeyRing(key)
	if err != nil {
		return err
	}
	_, err = openpgp.CheckArmoredDetachedSignature(ring, bytes.NewReader(document), bytes.NewReader(signature),
		&packet.Config{Time: now})
	return err
}

// documents checks the clearsigned documents that clients find by index.sjson, and returns
// the paths of those, and the items that they name.
func (s *signers) documents(read readFunc, now time.Time) (paths []string, items []catalog.Item, err error) {
	plain := fstest.MapFS{}
	open := func(p string) ([]byte, error) {
		data, err := read(p)
		if err == nil {
			data, _, err = s.Inline(data, now)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		paths = append(paths, p)
		return data, nil
	}
	top := path.Dir(simplestreams.IndexPath) + "/index.sjson"
	index, err := open(top)
	if err != nil {
		return nil, nil, err
	}
	var doc struct {
		Index map[string]struct{ Path string }
	}
	if err := json.Unmarshal(index, &doc); err != nil {
		return nil, nil, err
	}
	for name, e := range doc.Index {
		if !strings.HasSuffix(e.Path, ".sjson") {
			return nil, nil, fmt.Errorf("index.sjson: %s leads to %s", name, e.Path)
		}
		data, err := open(e.Path)
		if err != nil {
			return nil, nil, err
		}
		plain[e.Path] = &fstest.MapFile{Data: data}
	}
	plain[simplestreams.IndexPath] = &fstest.MapFile{Data: index}
	cat, err := simplestreams.Format{}.Read(ctx, catalog.Files(plain))
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(paths)
	return paths, cat.Items, nil
}

// shelved is the product of what shelf stages.
const shelved = "a:1:default:amd64"

// shelf stages images, by version, with their bytes. Names of files depend on the content.
func shelf(dir string, images map[string]string) error {
	type object = map[string]any
	versions := object{}
	for v, data := range images {
		at := "images/" + sumOf(data)[:16] + ".tar.xz"
		full := filepath.Join(dir, at)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(data), 0o644); err != nil {
			return err
		}
		versions[v] = object{"items": object{"one": object{"ftype": "incus_combined.tar.gz", "path": at, "size": len(data),
			"sha256": sumOf(data)}}}
	}
	index := object{"format": "index:1.0", "index": object{"images": object{"datatype": "image-downloads",
		"format": "products:1.0", "path": "streams/v1/images.json", "products": []string{shelved}}}}
	products := object{"format": "products:1.0", "datatype": "image-downloads", "content_id": "images",
		"products": object{shelved: object{"arch": "amd64", "os": "a", "release": "1", "variant": "default",
			"aliases": "a", "release_title": "1", "versions": versions}}}
	for p, v := range map[string]object{"streams/v1/index.json": index, "streams/v1/images.json": products} {
		full := filepath.Join(dir, p)
		err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text(v)), 0o644))
		if err != nil {
			return err
		}
	}
	return nil
}

// shelve is shelf in staging.
func (w *world) shelve(images map[string]string) {
	w.t.Helper()
	if err := shelf(filepath.Join(w.dir, "staging"), images); err != nil {
		w.t.Fatal(err)
	}
}

// newSigned makes a repository whose generations are signed.
func newSigned(t testing.TB, base, mode string, keys *signers) *world {
	t.Helper()
	w := newWorldIn(t, base, mode)
	w.format = simplestreams.Format{}
	must(t, os.WriteFile(filepath.Join(w.dir, ConfigName),
		[]byte("switch: "+mode+"\ngenerations: {keep: 3}\n"+keys.config), 0o644))
	return w
}

// wantSigned checks that a tree is whole and signed as a generation: that the list has exactly
// the rows that it should, and that clearsigned documents say what the documents do. It
// returns the contents of the images that it has.
func (s *signers) wantSigned(read readFunc, generation int, now time.Time) (map[string]string, error) {
	l, err := s.listing(read)
	if err != nil {
		return nil, err
	}
	if l.Generation != generation {
		return nil, fmt.Errorf("the list is of generation %d, and production is %d", l.Generation, generation)
	}
	docs := fstest.MapFS{}
	for _, row := range l.Rows {
		data, err := read(row.Path)
		if err != nil {
			return nil, err
		}
		if sumOf(string(data)) != row.SHA256 || int64(len(data)) != row.Size {
			return nil, fmt.Errorf("%s: has other bytes than the list says", row.Path)
		}
		docs[row.Path] = &fstest.MapFile{Data: data}
	}
	_, signed, err := s.documents(read, now)
	if err != nil {
		return nil, err
	}
	cat, err := simplestreams.Format{}.Read(ctx, catalog.Files(docs))
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, i := range cat.Items {
		images[i.Version] = string(docs[i.Path].Data)
	}
	if len(signed) != len(cat.Items) {
		return nil, fmt.Errorf("the signed documents name %d items, and the others %d", len(signed), len(cat.Items))
	}
	for k, i := range signed {
		if o := cat.Items[k]; i.Path != o.Path || i.SHA256 != o.SHA256 || i.Version != o.Version {
			return nil, fmt.Errorf("the signed documents name %+v, and the others %+v", i, o)
		}
	}
	return images, nil
}
