package bucket_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/tree"
)

// TestSameBytes finds that a document is compressed to the same bytes, whatever was compressed
// before it: the object that another machine made for it must be equal.
func TestSameBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func() []byte {
		var b strings.Builder
		for range rnd.IntN(300) {
			fmt.Fprintf(&b, "images/%x/disk.img %d\n", rnd.Uint32N(1000), rnd.Uint32N(10))
		}
		return []byte(b.String())
	}
	packed := func(data []byte) []byte {
		body, err := bucket.FileUpload(tree.Row{}, data).Body.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(body); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var texts, first [][]byte
	for range 50 {
		data := text()
		texts, first = append(texts, data), append(first, packed(data))
	}
	for _, i := range rnd.Perm(len(texts)) {
		if !bytes.Equal(packed(texts[i]), first[i]) {
			t.Fatalf("text %d of %d bytes has other bytes the second time", i, len(texts[i]))
		}
	}
}
