package pins

import (
	"fmt"
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
