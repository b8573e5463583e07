package serve

import (
	"container/list"
	"context"
	"strconv"
	"sync"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

const (
	// maxManifest is how many bytes a manifest may have. Clients refuse larger ones: such a
	// content is only a blob.
	maxManifest = 4 << 20
	// maxMemory is for how many bytes of manifests there is memory, in all.
	maxMemory = 16 << 20
	// eachInMemory is about what one takes beside its bytes.
	eachInMemory = 1 << 10
)

// manifest is a content as it is answered under /manifests/. Its bytes have its digest.
type manifest struct {
	data   []byte
	head   headers
	digest []string // as a header
}

func newManifest(row tree.Row, digest, mediaType string, data []byte) *manifest {
	return &manifest{data: data, digest: []string{digest}, head: headers{tag: []string{`"` + row.SHA256 + `"`},
		kind: []string{mediaType}, length: []string{strconv.Itoa(len(data))}}}
}

// remembered is the key of a manifest in memory: one digest may have another type in each
// repository. The type is "" for one that no document names. The value is nil for a content
// that is no manifest.
type remembered struct{ digest, mediaType string }

// memory has what was asked for last, of all views: its keys are digests, or have one, so
// a value is the same in each view. Whether a view has it is not the memory's matter.
type memory[K comparable, V any] struct {
	max int // bytes

	mu    sync.Mutex
	bytes int
	order list.List // the newest use first
	by    map[K]*list.Element
}

// slot is a value in memory.
type slot[K comparable, V any] struct {
	key   K
	value V
	size  int
}

func newMemory[K comparable, V any](limit int) *memory[K, V] {
	return &memory[K, V]{max: limit, by: map[K]*list.Element{}}
}

func (m *memory[K, V]) get(key K) (found V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.by[key]
	if e == nil {
		return found, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*slot[K, V]).value, true
}

// put remembers a value of so many bytes, and forgets what has not been asked for the
// longest.
func (m *memory[K, V]) put(key K, value V, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by[key] != nil {
		return // somebody else also asked for it
	}
	s := &slot[K, V]{key, value, eachInMemory + bytes}
	m.by[key] = m.order.PushFront(s)
	m.bytes += s.size
	for m.bytes > m.max {
		last := m.order.Back()
		s := m.order.Remove(last).(*slot[K, V])
		delete(m.by, s.key)
		m.bytes -= s.size
	}
}

// findManifest returns what stands for a digest under /manifests/ in a repository of a
// view. live says that the view is that of production at this moment.
//
// What is in memory is answered only then, and only for a content that the tree has
// itself: a revoke makes a new generation, and a gc takes what is carried. In all other
// cases the file has to be there.
func (s *Server) findManifest(
	ctx context.Context, v *view, live bool, r *repository, digest string,
) (*manifest, error) {
	d, err := catalog.ParseDigest(digest)
	if err != nil {
		return nil, errDigest
	}
	named, is := r.named[digest]
	if !is {
		named = catalog.Naming{Path: s.pull.BlobAt(r.row.Path, d)}
	}
	row, ok := tree.Find(v.Own, named.Path)
	own := ok
	if !own {
		row, ok = v.find(named.Path)
	}
	if !ok || row.Size > maxManifest || d.Algorithm == catalog.SHA256 && row.SHA256 != d.Hex {
		return nil, errManifest
	}
	key := remembered{digest, named.MediaType}
	if live && own {
		if m, ok := s.memory.get(key); ok {
			return m.orUnknown()
		}
	}
	data, err := readSmall(ctx, v, row, d)
	if gone(err) {
		return nil, errManifest
	}
	if err != nil {
		return nil, err
	}
	mediaType := named.MediaType
	if !is {
		says, err := s.pull.Manifest(data)
		if err != nil {
			if err != catalog.ErrNoManifest {
				s.log.Warn("a content is not answered as a manifest", "generation", v.Generation, "path", row.Path,
					"error", err)
			}
			s.memory.put(key, nil, 0)
			return nil, errManifest
		}
		mediaType = says.MediaType
	}
	if !own {
		s.count.carried.Inc()
	}
	m := newManifest(row, digest, mediaType, data)
	s.memory.put(key, m, len(data))
	return m, nil
}

func (m *manifest) orUnknown() (*manifest, error) {
	if m == nil {
		return nil, errManifest
	}
	return m, nil
}
