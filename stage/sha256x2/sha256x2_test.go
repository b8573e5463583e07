package sha256x2

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"testing"
)

// data returns n bytes that depend on the seed alone.
func data(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

// Both sums are those of crypto/sha256, whatever came before, wherever the bytes lie, and
// however they are divided.
func TestWrite(t *testing.T) {
	if !Enabled {
		t.Log("this processor lacks the instructions: only the way without them is tested")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		sums, alone := [2]hash.Hash{sha256.New(), sha256.New()}, [2]hash.Hash{sha256.New(), sha256.New()}
		for range 1 + r.IntN(4) {
			sizes := [2]int{r.IntN(3 * worth), r.IntN(3 * worth)}
			switch r.IntN(4) {
			case 0:
				sizes[1] = sizes[0]
			case 1:
				sizes[0] = worth - 2 + r.IntN(4)
			}
			shift := r.IntN(17)
			p, q := data(uint64(2*i), shift+sizes[0])[shift:], data(uint64(2*i+1), sizes[1])
			Write(sums[0], sums[1], p, q)
			_, _ = alone[0].Write(p)
			_, _ = alone[1].Write(q)
		}
		for k := range sums {
			if got, want := sums[k].Sum(nil), alone[k].Sum(nil); !bytes.Equal(got, want) {
				t.Fatalf("case %d, sum %d: %x, want %x", i, k, got, want)
			}
		}
	}
}

// The same bytes may go to both, and a sum that was copied goes on as the original would.
func TestSameBytes(t *testing.T) {
	first, same := data(1, 10_001), data(2, 100_003)
	own, pair := sha256.New(), sha256.New()
	_, _ = pair.Write(first)
	copied, err := pair.(hash.Cloner).Clone()
	if err != nil {
		t.Fatal(err)
	}
	Write(own, copied, same, same)
	if want := sha256.Sum256(same); !bytes.Equal(own.Sum(nil), want[:]) {
		t.Errorf("own: %x, want %x", own.Sum(nil), want)
	}
	if want := sha256.Sum256(append(bytes.Clone(first), same...)); !bytes.Equal(copied.Sum(nil), want[:]) {
		t.Errorf("pair: %x, want %x", copied.Sum(nil), want)
	}
	if want := sha256.Sum256(first); !bytes.Equal(pair.Sum(nil), want[:]) {
		t.Errorf("the original of the copy changed: %x, want %x", pair.Sum(nil), want)
	}
}

// A sum that is not of sha256.New is written to as it is.
func TestOtherSums(t *testing.T) {
	b := data(3, 3*worth)
	other, own := md5.New(), sha256.New()
	Write(other, own, b, b)
	if want := md5.Sum(b); !bytes.Equal(other.Sum(nil), want[:]) {
		t.Errorf("md5: %x, want %x", other.Sum(nil), want)
	}
	short := sha256.New224()
	Write(own, short, nil, b)
	if want := sha256.Sum224(b); !bytes.Equal(short.Sum(nil), want[:]) {
		t.Errorf("sha224: %x, want %x", short.Sum(nil), want)
	}
	if want := sha256.Sum256(b); !bytes.Equal(own.Sum(nil), want[:]) {
		t.Errorf("sha256: %x, want %x", own.Sum(nil), want)
	}
}

// What a sum says is of any length: a count of bytes beyond 32 bits stays right.
func TestLongSum(t *testing.T) {
	sum := sha256.New()
	var h half
	if !h.take(sum) {
		t.Fatal("the state of a sha256.New is not what this package knows")
	}
	h.put(sum, 1<<40)
	clone, err := sum.(hash.Cloner).Clone()
	if err != nil {
		t.Fatal(err)
	}
	b := data(4, 2*worth)
	Write(sum, sha256.New(), b, b)
	_, _ = clone.Write(b)
	if got, want := sum.Sum(nil), clone.Sum(nil); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func FuzzWrite(f *testing.F) {
	f.Add([]byte("a"), []byte("bc"), uint16(3), true)
	f.Add(data(1, 2*worth), data(2, 3*worth), uint16(64), false)
	f.Fuzz(func(t *testing.T, p, q []byte, repeat uint16, same bool) {
		p = bytes.Repeat(p, 1+int(repeat)%30)
		if same {
			q = p
		}
		a, b := sha256.New(), sha256.New()
		cut := min(int(repeat), len(p))
		Write(a, b, p[:cut], q)
		Write(a, b, p[cut:], q)
		wantA, wantB := sha256.Sum256(p), sha256.Sum256(append(bytes.Clone(q), q...))
		if !bytes.Equal(a.Sum(nil), wantA[:]) || !bytes.Equal(b.Sum(nil), wantB[:]) {
			t.Errorf("%x %x, want %x %x", a.Sum(nil), b.Sum(nil), wantA, wantB)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	p, q := data(1, 1<<20), data(2, 1<<20)
	x, y := sha256.New(), sha256.New()
	b.Run("two", func(b *testing.B) {
		b.SetBytes(2 << 20)
		for b.Loop() {
			Write(x, y, p, q)
		}
	})
	b.Run("one after the other", func(b *testing.B) {
		b.SetBytes(2 << 20)
		for b.Loop() {
			_, _ = x.Write(p)
			_, _ = y.Write(q)
		}
	})
}
