package oci

import (
	"encoding/hex"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
)

// skimming reads from the fact of a manifest what it leads to, and makes no values of it.
type skimming struct {
	r          factReader
	part       section
	left       int // descriptors of this part
	descriptor skimmed
}

// section is a part of a manifest.
type section int

const (
	partNone section = iota
	partConfig
	partLayer
	partManifest
	partSubject
	partEnd
)

// skimmed is a descriptor.
type skimmed struct {
	sum       catalog.Sum
	size      int64
	kind      kind
	elsewhere bool // it has addresses
	bad       bool // it has another digest than a sha256, or no size, or no media type
}

// begin begins with the fact of a manifest that was parsed under a media type.
func (s *skimming) begin(fact []byte) {
	*s = skimming{r: factReader{b: fact[1:]}}
	s.r.skipKind()
	s.r.skipKind()
}

// factOf reports whether a fact is one of a manifest that was parsed under a media type.
func factOf(fact []byte, k kind) bool {
	if len(fact) < 2 || fact[0] != factVersion && fact[0] != factUnchecked {
		return false
	}
	r := factReader{b: fact[1:]}
	return r.kind() == k.mediaType() && !r.bad
}

// more goes to the next descriptor.
func (s *skimming) more() bool {
	for s.left == 0 {
		if s.part++; s.r.bad || s.part >= partEnd {
			return false
		}
		switch s.part {
		case partConfig, partSubject:
			s.left = int(min(1, max(0, s.r.long())))
		default:
			if len(s.r.b) > 0 && s.r.b[0] == 1 { // the varint of -1: see factReader.list
				s.r.b = s.r.b[1:]
			} else {
				s.left = s.r.count()
			}
		}
	}
	s.left--
	s.descriptor = s.r.skim()
	return !s.r.bad
}

// bad reports whether the fact is no whole one.
func (s *skimming) bad() bool {
	if s.part != partEnd || s.r.bad {
		return true
	}
	for range 3 { // what is odd
		s.r.bytes(s.r.count())
	}
	return s.r.bad || len(s.r.b) > 0
}

func (r *factReader) skipKind() {
	if at := r.long(); at < 0 {
		r.bytes(r.count())
	} else if at >= int64(len(commonTypes)) {
		r.fail()
	}
}

// skim reads a descriptor.
func (r *factReader) skim() (d skimmed) {
	switch at := r.long(); {
	case at < 0:
		d.bad = len(r.bytes(r.count())) == 0
	case at >= int64(len(commonTypes)):
		r.fail()
	default:
		d.bad = at == 0
		d.kind = kindOfType(commonTypes[at])
	}
	if r.long() == 0 {
		copy(d.sum[:], r.bytes(len(d.sum)))
	} else {
		r.bytes(r.count())
		d.bad = true
	}
	if r.long() == 0 {
		d.bad = true
	} else {
		d.size = r.long()
	}
	for range r.count() {
		r.bytes(r.count())
		d.elsewhere = true
	}
	for range 2 * r.count() { // annotations
		r.bytes(r.count())
	}
	r.bytes(r.count())
	if r.long() != 0 {
		for range 3 {
			r.bytes(r.count())
		}
	}
	return d
}

// facts calls f with the fact of each manifest, in their order. Those that are not known
// are read, on all processors; of one that cannot be used there is none.
func (o *outline) facts(r *outlined, list []int32, f func(at int32, fact []byte) error) error {
	memory, _ := o.src.(catalog.SumMemory)
	facts := make([][]byte, min(len(list), aheadNodes))
	for len(list) > 0 {
		some := list[:min(len(list), aheadNodes)]
		list = list[len(some):]
		var unknown []int
		for i, at := range some {
			facts[i] = nil
			if memory != nil {
				if fact, ok := memory.RecallSum(&o.blobs.At(int(at)).Sum); ok && factOf(fact, o.nodes[at].kind) {
					facts[i] = fact
					continue
				}
			}
			unknown = append(unknown, i)
		}
		if err := o.read(some, unknown, facts); err != nil {
			return err
		}
		for _, i := range unknown {
			if at := some[i]; facts[i] == nil {
				o.nodes[at].lost = true
			} else if memory != nil {
				memory.Remember(o.digest(at), facts[i])
			}
		}
		for i, at := range some {
			if facts[i] != nil {
				if err := f(at, facts[i]); err != nil {
					return err
				}
			}
		}
	}
	return o.ctx.Err()
}

// read reads manifests, and makes their facts.
func (o *outline) read(list []int32, unknown []int, facts [][]byte) error {
	var next atomic.Int64
	var workers errgroup.Group
	for range min(runtime.GOMAXPROCS(0), len(unknown)) {
		workers.Go(func() error {
			for o.ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(unknown) {
					break
				}
				at := list[unknown[n]]
				b, d := o.blobs.At(int(at)), o.digest(at)
				data, err := blobOf(o.src, o.blobs.Dirs[b.Dir]+"/"+d.Hex, d, b.Size)
				if err != nil {
					return err
				}
				if int64(len(data)) != b.Size {
					continue // missing, or another one
				}
				mediaType := o.nodes[at].kind.mediaType()
				if m, code, _ := parseManifest(data, mediaType); code == "" {
					facts[unknown[n]] = writeFact(m, mediaType)
					facts[unknown[n]][0] = factUnchecked
				}
			}
			return nil
		})
	}
	return workers.Wait()
}

func (o *outline) digest(at int32) catalog.Digest {
	sum := o.blobs.At(int(at)).Sum
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: hex.EncodeToString(sum[:])}
}
