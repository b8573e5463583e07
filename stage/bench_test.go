package stage

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// large is a staging tree of split images, two files for each version.
func large(b *testing.B, versions int) *Stage {
	b.Helper()
	s := newStage(b)
	for _, d := range []string{"images", "streams/v1"} {
		must(b, os.MkdirAll(filepath.Join(s.Dir, d), 0o755))
	}
	var catalog, names strings.Builder
	sum := func(data string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(data))) }
	write := func(name, data string) { must(b, os.WriteFile(filepath.Join(s.Dir, name), []byte(data), 0o644)) }
	for p := 0; p*100 < versions; p++ {
		if p > 0 {
			catalog.WriteByte(',')
			names.WriteByte(',')
		}
		product := fmt.Sprintf("os%04d:1:default:amd64", p)
		fmt.Fprintf(&names, "%q", product)
		fmt.Fprintf(&catalog, `%q:{"aliases":"os%04d","arch":"amd64","os":"os","release":"1","versions":{`, product, p)
		for v := range 100 {
			if v > 0 {
				catalog.WriteByte(',')
			}
			meta, root := fmt.Sprint("metadata", p, v), fmt.Sprint("root", p, v)
			at := "images/" + sum(meta)
			write(at+".incus.tar.xz", meta)
			write(at+".squashfs", root)
			fmt.Fprintf(&catalog,
				`"%s":{"items":{"incus.tar.xz":{"combined_squashfs_sha256":%q,"ftype":"incus.tar.xz",`+
					`"path":"%s.incus.tar.xz","sha256":%q,"size":%d},"squashfs":{"ftype":"squashfs","path":"%s.squashfs","sha256":%q,"size":%d}}}`,
				time.Date(2020, 1, 1+v, 0, 0, 0, 0, time.UTC).Format("200601021504"), sum(meta+root), at, sum(meta),
				len(meta),
				at, sum(root), len(root))
		}
		catalog.WriteString(`},"variant":"default"}`)
	}
	write("streams/v1/images.json", `{"content_id":"images","datatype":"image-downloads","products":{`+catalog.String()+
		`}}`)
	write("streams/v1/index.json", `{"format":"index:1.0","index":{"images":{"datatype":"image-downloads",`+
		`"path":"streams/v1/images.json","products":[`+names.String()+`]}}}`)
	s.Now = func() time.Time { return time.Now().Add(time.Hour) } // the cache believes what it has
	checked, err := s.Validate(context.Background(), Checks{Now: s.Now()})
	must(b, err)
	if len(checked.Report.Findings) > 0 {
		b.Fatal(checked.Report.Findings[0])
	}
	return s
}

func BenchmarkLook(b *testing.B) {
	s := large(b, 10_000)
	for b.Loop() {
		checked, err := s.Look(context.Background())
		if err != nil || checked.Report.HashedBytes > 0 || len(checked.Report.Findings) > 0 {
			b.Fatal(err, checked.Report.HashedBytes, checked.Report.Findings)
		}
	}
}
