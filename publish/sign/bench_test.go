package sign

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// A catalog of 20,000 files has 7 MB. Beside the time it reports that of the processor.
func BenchmarkSign(b *testing.B) {
	var doc strings.Builder
	list := &Listing{Generation: 7, TreeID: strings.Repeat("0f", 32), Made: now}
	doc.WriteString(`{"format":"products:1.0","products":{`)
	for i := range 20_000 {
		sum := fmt.Sprintf("%064x", i*7919)
		path := fmt.Sprintf("images/ubuntu/noble/amd64/default/%08d_03:04/rootfs.squashfs", i)
		doc.WriteString(fmt.Sprintf(`"ubuntu:noble:amd64:%d":{"arch":"amd64","os":"Ubuntu","release":"noble","versions":{`+
			`"20260101_03:04":{"items":{"squashfs":{"ftype":"squashfs","path":%q,"size":%d,"sha256":%q,`+
			`"combined_squashfs_sha256":%q}}}}},`, i, path, 1<<20+i, sum, sum))
		list.Rows = append(list.Rows, tree.Row{Path: path, Size: 1<<20 + int64(i), SHA256: sum, Role: catalog.Content})
	}
	document := []byte(strings.TrimSuffix(doc.String(), ",") + "}}")
	for name, key := range map[string]pair{"EdDSA": newPGP(b, packet.PubKeyAlgoEdDSA, 0, ""),
		"RSA": newPGP(b, packet.PubKeyAlgoRSA, 0, "")} {
		s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(b)
		b.Run("catalog/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(document)))
			spent(b, func() { must(s.Inline(context.Background(), document))(b) })
		})
	}
	s := must(Open(Options{Minisign: KeyOptions{Keys: []string{newMinisign(b).secret}}}, now))(b)
	b.Run("listing", func(b *testing.B) {
		b.SetBytes(int64(len(list.Encode())))
		spent(b, func() { must(s.Detached(context.Background(), list.Encode(), list.Trusted()))(b) })
	})
}

// spent reports the processor time of what is done, in seconds.
func spent(b *testing.B, do func()) {
	b.Helper()
	before := processor(b)
	for b.Loop() {
		do()
	}
	b.ReportMetric((processor(b)-before)/float64(b.N), "cpu-s/op")
}

func processor(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(syscall.TimevalToNsec(u.Utime)+syscall.TimevalToNsec(u.Stime)) / 1e9
}
