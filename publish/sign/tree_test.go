package sign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// rowsOf are those of files.
func rowsOf(files map[string]string) (rows []tree.Row) {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256([]byte(files[path]))
		rows = append(rows, tree.Row{Path: path, Size: int64(len(files[path])), SHA256: hex.EncodeToString(sum[:]),
			Role: catalog.Content})
	}
	return rows
}

func TestCheckTree(t *testing.T) {
	pgp, small, stranger := newPGP(t, packet.PubKeyAlgoEdDSA, 0, ""), newMinisign(t), newPGP(t, packet.PubKeyAlgoEdDSA, 0, "")
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{pgp.secret}},
		Minisign: KeyOptions{Keys: []string{newMinisign(t).secret, small.secret}}}, now))(t)
	ring := must(OpenKeyring(pgp.public, small.public))(t)
	inline := func(s *Signer, text string) string {
		return string(must(s.Inline(context.Background(), []byte(text)))(t))
	}
	entity := must(openpgp.ReadArmoredKeyRing(strings.NewReader(string(must(os.ReadFile(pgp.secret))(t)))))(t)[0]
	var binary, armored strings.Builder
	config := &packet.Config{Time: func() time.Time { return now }}
	if err := openpgp.DetachSign(&binary, entity, strings.NewReader("{}"), config); err != nil {
		t.Fatal(err)
	}
	if err := openpgp.ArmoredDetachSign(&armored, entity, strings.NewReader("{}"), config); err != nil {
		t.Fatal(err)
	}
	tree := func() map[string]string {
		files := map[string]string{"a.json": "{}", "a.sjson": inline(s, "{}"), "a.json.gpg": binary.String(),
			"a.json.asc": armored.String(), "key.gpg": "a key"}
		l := &Listing{Generation: 3, TreeID: "0f", Made: now, Rows: rowsOf(files)}
		files[ListingName] = string(l.Encode())
		for _, sig := range must(s.Detached(context.Background(), l.Encode(), l.Trusted()))(t)[1:] {
			files[ListingName+sig.Suffix] = string(sig.Data)
		}
		return files
	}
	name := ListingName + ring.Suffixes()[1]
	other := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{stranger.secret}}}, now))(t)
	for what, c := range map[string]struct {
		change func(files map[string]string)
		want   string // code and path of each finding
	}{
		"good":              {func(map[string]string) {}, ""},
		"another document":  {func(f map[string]string) { f["a.json"] = "{ }" }, "differs a.json, bad-signature a.json.asc, bad-signature a.json.gpg"},
		"a stranger":        {func(f map[string]string) { f["a.sjson"] = inline(other, "{}") }, "bad-signature a.sjson, differs a.sjson"},
		"no document":       {func(f map[string]string) { delete(f, "a.json") }, "missing a.json"},
		"another list":      {func(f map[string]string) { f[ListingName] += "x" }, "bad-signature " + name},
		"another comment":   {func(f map[string]string) { f[name] = strings.Replace(f[name], "on:3", "on:4", 1) }, "bad-signature " + name},
		"no signature":      {func(f map[string]string) { f["a.json.gpg"] = "x" }, "bad-signature a.json.gpg, differs a.json.gpg"},
		"signed by nothing": {func(f map[string]string) { f[name] = "x" }, "bad-signature " + name},
	} {
		files := tree()
		c.change(files)
		fsys := fstest.MapFS{}
		for path, text := range files {
			fsys[path] = &fstest.MapFile{Data: []byte(text)}
		}
		var got []string
		for _, f := range CheckTree(catalog.Files(fsys), rowsOf(files), ring, now, nil) {
			got = append(got, f.Code+" "+f.Path)
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s, want %s", what, text, c.want)
		}
		if bad := CheckTree(catalog.Files(fsys), rowsOf(files), new(Keyring), now, nil); len(bad) > 0 {
			t.Errorf("%s, without a key: %v", what, bad)
		}
	}
}
