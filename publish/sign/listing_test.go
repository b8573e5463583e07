package sign

import (
	"bytes"
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/clearsign"
	"example.com/publish/stage/tree"
)

// listing is one of two files and a link.
func listing() *Listing {
	h := strings.Repeat("ab", 32)
	return &Listing{Generation: 12, TreeID: strings.Repeat("0f", 32), Made: now, Rows: []tree.Row{
		{Path: "images/a b ü\\n.img", Size: 1 << 40, SHA256: h, Role: catalog.Content},
		{Path: "latest", Size: 6, SHA256: h, Role: catalog.Link},
		{Path: "link x", Size: 0, SHA256: h, Role: catalog.Content}}}
}

func TestListing(t *testing.T) {
	for _, until := range []time.Time{{}, now.Add(time.Hour)} {
		for _, rows := range [][]tree.Row{listing().Rows, {}} {
			l := listing()
			l.Until, l.Rows = until, rows
			text := l.Encode()
			if got, err := ParseListing(text); err != nil || !reflect.DeepEqual(got, l) {
				t.Errorf("%s\n%+v %v", text, got, err)
			}
		}
	}
	n, at, err := ParseTrusted(listing().Trusted())
	if n != 12 || !at.Equal(now) || err != nil {
		t.Error(n, at, err)
	}
	for _, bad := range []string{"", "generation:0 time:2026-01-02T00:00:00Z", "generation:12 time:2026-01-02T00:00:00+00:00",
		"generation:012 time:2026-01-02T00:00:00Z", "12 time:2026-01-02T00:00:00Z", "generation:12 time:2026-01-02T00:00:00Z x",
		"generation:12", "timestamp:1"} {
		if n, _, err := ParseTrusted(bad); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

// A list of a stranger is taken as it was written, or not at all.
func TestListingForged(t *testing.T) {
	good := string(listing().Encode())
	hash := strings.Repeat("ab", 32)
	for name, c := range map[string][2]string{
		"another format":  {"publish-manifest 1", "publish-manifest 2"},
		"no generation":   {"generation 12", "generation 0"},
		"a sign":          {"generation 12", "generation +12"},
		"a zero":          {"generation 12", "generation 012"},
		"no tree":         {"tree 0f", "tree xy"},
		"another zone":    {"00:00Z\nuntil", "00:00+00:00\nuntil"},
		"a fraction":      {"00:00Z\nuntil", "00:00.5Z\nuntil"},
		"no until":        {"until never", "until"},
		"another line":    {"until never", "until never\nnote x"},
		"CR":              {"until never\n", "until never\r\n"},
		"upper case":      {hash + " 6", strings.ToUpper(hash) + " 6"},
		"a short hash":    {hash + " 6", "ab 6"},
		"a negative size": {" 6 latest", " -6 latest"},
		"a huge size":     {" 6 latest", " 99999999999999999999 latest"},
		"two blanks":      {" 6 latest", " 6  latest"},
		"no path":         {" 6 latest", " 6 "},
		"climbing":        {" 6 latest", " 6 ../latest"},
		"absolute":        {" 6 latest", " 6 /latest"},
		"not clean":       {" 6 latest", " 6 latest/./x"},
		"ours":            {"link " + hash + " 6 latest", hash + " 6 .publish-x"},
		"not sorted":      {" 6 latest", " 6 zzz"},
		"twice":           {" 6 latest", " 6 link x"},
		"cut":             {"link x\n", "link x"},
		"an empty line":   {"link x\n", "link x\n\n"},
		"invalid UTF-8":   {" 6 latest", " 6 late\xffst"},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if bad == good {
			t.Fatal(name)
		}
		if l, err := ParseListing([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func FuzzListing(f *testing.F) {
	f.Add(listing().Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseListing(data)
		if err != nil {
			return
		}
		if !bytes.Equal(l.Encode(), data) {
			t.Error("is written in another way")
		}
		for _, r := range l.Rows {
			if clean, _, ok := catalog.Clean(r.Path); !ok || clean != r.Path || r.Size < 0 {
				t.Errorf("row %+v", r)
			}
		}
	})
}

func FuzzTrusted(f *testing.F) {
	f.Add(listing().Trusted())
	f.Fuzz(func(t *testing.T, text string) {
		if n, at, err := ParseTrusted(text); err == nil && (&Listing{Generation: n, Made: at}).Trusted() != text {
			t.Error("is written in another way")
		}
	})
}

// What is signed is laid out once and for all, says the same JSON, and is read again.
func FuzzInline(f *testing.F) {
	key := newPGP(f, packet.PubKeyAlgoEd25519, 0, "")
	ring := must(OpenKeyring(key.public))(f)
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(f)
	for _, d := range documents {
		f.Add([]byte(d[0]), 0)
	}
	f.Add([]byte(`{"a": ["x, y", 1]}, `), 2000)
	f.Fuzz(func(t *testing.T, data []byte, times int) {
		if times > 0 && times*len(data) < 1<<20 {
			data = append(append([]byte("["), bytes.Repeat(data, times)...), ']')
		}
		text, err := layOut(data)
		if err != nil {
			return
		}
		if again := must(layOut(text))(t); !bytes.Equal(again, text) {
			t.Errorf("%q, then %q", text, again)
		}
		out := must(s.Inline(context.Background(), data))(t)
		if plain, _, err := ring.Inline(out, now); err != nil || !bytes.Equal(plain, text) {
			t.Errorf("%q, %v, want %q", plain, err, text)
		}
	})
}

func FuzzDetached(f *testing.F) {
	key := newMinisign(f)
	ring := must(OpenKeyring(key.public))(f)
	s := must(Open(Options{Minisign: KeyOptions{Keys: []string{key.secret}}}, now))(f)
	f.Add([]byte("data"), must(s.Detached(context.Background(), []byte("data"), "a"))(f)[0].Data)
	f.Fuzz(func(t *testing.T, data, sig []byte) {
		if said, _, err := ring.Detached(data, sig); err == nil && (said != "a" || string(data) != "data") {
			t.Errorf("%q of %q was never signed", said, data)
		}
	})
}

// What is taken for signatures of a document is taken again as it was rewritten.
func FuzzBeside(f *testing.F) {
	key := newPGP(f, packet.PubKeyAlgoEdDSA, 0, "")
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(f)
	text := must(s.Beside(context.Background(), []byte("data")))(f)
	f.Add([]byte("data"), text)
	f.Add([]byte("data"), dearmored(f, text))
	f.Fuzz(func(t *testing.T, data, sig []byte) {
		packets, err := clearsign.SplitDetached(data, sig)
		if err != nil {
			return
		}
		if again, err := clearsign.SplitDetached(data, packets); err != nil || !bytes.Equal(again, packets) {
			t.Errorf("% x became % x, %v", packets, again, err)
		}
	})
}

func FuzzOpenKeyring(f *testing.F) {
	f.Add([]byte("untrusted comment: x\nRWQ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k := new(Keyring)
		bad := k.add(data)
		if pgp, small := k.Has(); (bad == nil) != (pgp || small) {
			t.Error(bad)
		}
	})
}

// A catalog of 7 MB, as one of 20,000 files.
func BenchmarkInline(b *testing.B) {
	key := newPGP(b, packet.PubKeyAlgoRSA, 0, "")
	s := must(Open(Options{OpenPGP: KeyOptions{Keys: []string{key.secret}}}, now))(b)
	line := "        \"ftype\": \"incus.tar.xz\", \"sha256\": \"" + strings.Repeat("ab", 32) + "\",\n"
	doc := []byte(strings.Repeat(line, 7_000_000/len(line)))
	compact := []byte("[" + strings.Repeat(`"`+strings.Repeat("ab", 32)+`",`, 7_000_000/67) + "1]")
	for name, d := range map[string][]byte{"lines": doc, "compact": compact} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(s.Inline(context.Background(), d))(b)
			}
		})
	}
}
