package generation

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable/durabletest"
	"example.com/publish/stage/tree"
)

func sumOf(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// FuzzManifest: Decode does not panic; a manifest that it accepts is safe, and
// survives encoding and decoding; a sealed text with one wrong bit is refused. A
// fuzzer cannot guess a hash, so the input is the text between the first line and
// the seal, and the target adds both.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"generation":1}`+"\nown content 3 "+sumOf("x")+" images/a b\ncarried 2 link 0 "+sumOf("")+
		" l\nheld 2 1893553445 9 sha512:"+sumOf("")+sumOf("z")+" \"a/b; c=\\\"d e\\\"\" a b/index.json\nbarred mutable 1 "+
		sumOf("y")+" .x\ngone "+sumOf("x")+" \"a b:v1\"\n"), uint(30))
	f.Fuzz(func(t *testing.T, body []byte, at uint) {
		if m, err := Decode(string(body)); err == nil {
			t.Fatalf("what nobody sealed is %+v", m)
		}
		data := slices.Concat([]byte(manifestMagic), body)
		data = fmt.Appendf(data, "end %x\n", sha256.Sum256(data))
		if m, err := Decode(string(durabletest.Flipped(data, at))); err == nil {
			t.Fatalf("one bit is wrong: %+v", m)
		}
		m, err := Decode(string(data))
		if err != nil {
			return
		}
		rows := slices.Concat(slices.Collect(m.All()), m.Barred)
		for _, row := range rows {
			if p, _, ok := catalog.Clean(row.Path); !ok || p != row.Path || row.Size < 0 || len(row.SHA256) != 64 {
				t.Errorf("%+v", row)
			}
		}
		var again bytes.Buffer
		if err := m.Encode(&again); err != nil {
			return // a time that JSON can carry in one direction only
		}
		back, err := Decode(again.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, back, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

// BenchmarkDecode reads a manifest of 20,000 rows and half as many units.
func BenchmarkDecode(b *testing.B) {
	m := &Manifest{Head: Head{Generation: 1, Kind: KindPromote, Units: UnitScheme}}
	for i := range 20_000 {
		sum := sumOf(fmt.Sprint(i))
		m.Own = append(m.Own, tree.Row{Path: "images/" + sum + ".squashfs", Size: int64(i), SHA256: sum,
			Role: catalog.Content})
		if i%2 == 0 {
			m.Units = append(m.Units, catalog.Unit{Key: fmt.Sprintf("os%06d:1:default:amd64/202001010000", i),
				Digest: sum})
		}
	}
	var text strings.Builder
	if err := m.Encode(&text); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(text.String()); err != nil {
			b.Fatal(err)
		}
	}
}
