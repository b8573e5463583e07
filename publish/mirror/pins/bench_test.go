package pins

import (
	"fmt"
	"os"
	"testing"
)

// BenchmarkDecode reads a file of 10,000 images.
func BenchmarkDecode(b *testing.B) {
	var list []Entry
	for i := range 10_000 {
		list = append(list, image(fmt.Sprintf("docker.io/library/app%05d:v1", i), one, "linux/amd64", "linux/arm64"))
	}
	data := encode(list)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(data, byTag); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut adds an image to a file of 10,000.
func BenchmarkPut(b *testing.B) {
	f := newFile(b)
	var list []Entry
	for i := range 10_000 {
		list = append(list, image(fmt.Sprintf("docker.io/library/app%05d:v1", i), one, "linux/amd64", "linux/arm64"))
	}
	must(b, os.WriteFile(f.path, encode(list), 0o644))
	_, err := f.Load()
	must(b, err)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		f.put(b, image(fmt.Sprintf("docker.io/library/new%05d:v1", n), one), false)
	}
}
