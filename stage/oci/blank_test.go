package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func TestBlank(t *testing.T) {
	packed, err := hex.DecodeString("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{[]byte("{}"), make([]byte, 1024), packed} {
		sum := sha256.Sum256(data)
		if !(Format{}).Blank(hex.EncodeToString(sum[:])) {
			t.Errorf("%q says something", data)
		}
	}
	if sum := sha256.Sum256(nil); (Format{}).Blank(hex.EncodeToString(sum[:])) {
		t.Error("nothing is blank")
	}
}
