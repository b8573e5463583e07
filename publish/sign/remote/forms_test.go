package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/tree"
)

// The index of a layout is served with what clients of earlier trees may still ask for. What is
// signed is its own form.
func TestForms(t *testing.T) {
	const own = `{"manifests":[{"digest":"sha256:` + one + `","mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"size":3}],"schemaVersion":2}`
	f := oci.Format{}
	served := string(f.Hold([]byte(own), []catalog.Naming{{Path: "a/blobs/sha256/" + two, Size: 3, Kind: catalog.NamedHeld,
		Digest: catalog.Digest{Algorithm: catalog.SHA256, Hex: two}, MediaType: "application/vnd.oci.image.manifest.v1+json",
		Until: now}}))
	if served == own || string(f.Own([]byte(served))) != own {
		t.Fatalf("%s\n%s", served, f.Own([]byte(served)))
	}
	p, s := newPublisher(t), newServer(t)
	sum := sha256.Sum256([]byte(own))
	l := sign.Listing{Generation: 1, TreeID: one, Made: made, Rows: []tree.Row{{Path: "a/index.json", Size: int64(len(own)),
		SHA256: hex.EncodeToString(sum[:]), Role: catalog.Mutable}}}
	signatures := must(p.signer.Detached(t.Context(), l.Encode(), l.Trusted()))(t)
	for text, good := range map[string]bool{own: true, served: true, served + " ": true, own[:len(own)-2] + "3}": false} {
		s.files = map[string]string{sign.ListingName: string(l.Encode()), sign.ListingName + ".minisig": string(signatures[0].Data),
			"a/index.json": text}
		r := must(Verify(t.Context(), Options{URL: s.URL, Keys: p.mini, Full: true, Forms: f, Now: func() time.Time { return now }, Pause: 1}))(t)
		if (len(r.Findings) == 0) != good {
			t.Errorf("%s\n%+v", text, r.Findings)
		}
	}
}

const (
	one = "1111111111111111111111111111111111111111111111111111111111111111"
	two = "2222222222222222222222222222222222222222222222222222222222222222"
)
