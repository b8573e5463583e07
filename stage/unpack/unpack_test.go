package unpack

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// text is longer than a block of zstd, which names no window for less.
var text = strings.Repeat("documents are text, and small\n", 10000)

// packed packs a text; dict is the size of an xz dictionary, and the window of
// zstd.
func packed(t testing.TB, text, kind string, dict int) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind {
	case Gzip:
		w = gzip.NewWriter(&b)
	case Zstd:
		w, err = zstd.NewWriter(&b, zstd.WithWindowSize(dict), zstd.WithSingleSegment(false))
	case Xz:
		w, err = xz.WriterConfig{DictCap: dict}.NewWriter(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpacked(in io.Reader, kind string, window int64) (string, error) {
	plain, done, err := Reader(in, kind, window)
	if err != nil {
		return "", err
	}
	defer done()
	out, err := io.ReadAll(plain)
	return string(out), err
}

func TestReader(t *testing.T) {
	for _, kind := range []string{Gzip, Zstd, Xz} {
		data := packed(t, text, kind, 1<<20)
		got, err := unpacked(bytes.NewReader(data), kind, 1<<20)
		if err != nil || got != text {
			t.Errorf("%s: %d bytes, %v", kind, len(got), err)
		}
		if got, err = unpacked(bytes.NewReader(data[:len(data)-5]), kind, 1<<20); err == nil {
			t.Errorf("%s, cut: %d bytes", kind, len(got))
		}
		if _, err = unpacked(iotest.ErrReader(iotest.ErrTimeout), kind, 1<<20); !errors.Is(err, iotest.ErrTimeout) {
			t.Errorf("%s, unreadable: %v", kind, err)
		}
	}
	if _, err := unpacked(bytes.NewReader(nil), "br", 1<<20); !errors.Is(err, ErrKind) {
		t.Errorf("of an unknown kind: %v", err)
	}
}

// What asks for more than the bound costs no memory.
func TestWindow(t *testing.T) {
	if _, err := unpacked(bytes.NewReader(packed(t, text, Xz, 64<<20)), Xz, 64<<20); err != nil {
		t.Errorf("xz within the bound: %v", err)
	}
	if _, err := unpacked(bytes.NewReader(packed(t, text, Xz, 65<<20)), Xz, 64<<20); !errors.Is(err, ErrWindow) {
		t.Errorf("xz: %v", err)
	}
	if _, err := unpacked(bytes.NewReader(packed(t, text, Zstd, 128<<20)), Zstd, 64<<20); err == nil {
		t.Error("zstd: no error")
	}
}

// Go packs no bzip2: this is "small" and a newline, packed by the program.
func TestBzip2(t *testing.T) {
	const data = "425a6839314159265359e9c920f0000002c180001020060800200030cd00c34521b7177245385090e9c920f0"
	in := hex.NewDecoder(strings.NewReader(data))
	if got, err := unpacked(in, Bzip2, 1<<20); err != nil || got != "small\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// Whatever comes is unpacked or refused, and what is read of it does not depend on how it was cut.
func FuzzReader(f *testing.F) {
	kinds := []string{Gzip, Zstd, Xz, Bzip2}
	for i, kind := range kinds[:3] {
		f.Add(packed(f, text[:64], kind, 1<<20), uint8(i))
	}
	f.Add([]byte("plain"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, i uint8) {
		read := func(in io.Reader, open func(io.Reader) (io.Reader, func(), error)) (out []byte, err error) {
			plain, done, err := open(in)
			if err != nil {
				return nil, err
			}
			defer done()
			return io.ReadAll(io.LimitReader(plain, 1<<16))
		}
		for name, open := range map[string]func(io.Reader) (io.Reader, func(), error){
			"reader": func(in io.Reader) (io.Reader, func(), error) {
				return Reader(in, kinds[int(i)%len(kinds)], 1<<20)
			},
			"stream": func(in io.Reader) (io.Reader, func(), error) { return Stream(in, 1<<20) },
		} {
			whole, err := read(bytes.NewReader(data), open)
			cut, err2 := read(iotest.OneByteReader(bytes.NewReader(data)), open)
			if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(whole, cut) {
				t.Errorf("%s: %d bytes, %v; in single bytes %d, %v", name, len(whole), err, len(cut), err2)
			}
		}
	})
}
