package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/klauspost/compress/zstd"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

const (
	maxFile = 512 << 20 // of a document, of the text of a manifest
	maxList = 256 << 20 // of keys that are condemned
)

// cached returns bytes that never change from the cache, or fetches them. good says whether
// they are right. What is damaged in the cache is fetched anew; what is damaged in the store
// is an error that wraps ErrDamaged.
func (s *Site) cached(ctx context.Context, name, key string, limit int64, good func([]byte) error) ([]byte, error) {
	path := ""
	if s.Cache != "" {
		path = filepath.Join(s.Cache, name)
		if data, err := durable.ReadFile(path, limit+32); err == nil {
			if data, ok := unseal(data); ok && good(data) == nil {
				return data, nil
			}
		}
	}
	data, _, err := s.fetch(ctx, key, limit)
	if err != nil {
		return nil, err
	}
	if err := good(data); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	s.store(path, data)
	return data, nil
}

// store puts bytes into the cache. That it fails is no reason to stop. Who may only look at
// the repository is not told; a disk that is full is told of once.
func (s *Site) store(path string, data []byte) {
	if path == "" {
		return
	}
	err := durable.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = durable.WriteCopy(path, seal(data), 0o600)
	}
	if err == nil || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return
	}
	s.mu.Lock()
	told := s.unstored
	s.unstored = true
	s.mu.Unlock()
	if !told {
		if cause := new(fs.PathError); errors.As(err, &cause) {
			err = cause.Err
		}
		s.warn(fmt.Sprintf("%s: what is fetched is not kept: %v", s.Cache, err))
	}
}

// seal puts a checksum before what is cached: a power cut or a disk can spoil it.
func seal(data []byte) []byte { return append(durable.Line([]byte(sumOf(data))), data...) }

func unseal(data []byte) ([]byte, bool) {
	line, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return nil, false
	}
	sum, ok := durable.Unline(line)
	return rest, ok && string(sum) == sumOf(rest)
}

// pack compresses, always to the same bytes.
func pack(data []byte) []byte {
	window := zstd.MinWindowSize // a large one would cost its memory for a small text, too
	for window < len(data) && window < 8<<20 {
		window *= 2
	}
	made, _ := packers.LoadOrStore(window, &packer{})
	return made.(*packer).pack(data, window)
}

// packers are compressors by their window, made once each: the tables of one have more bytes
// than most of what it compresses.
var packers sync.Map

type packer struct {
	mu sync.Mutex
	w  *zstd.Encoder
}

func (p *packer) pack(data []byte, window int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.w == nil {
		p.w, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window),
			zstd.WithLowerEncoderMem(true))
	}
	if err != nil {
		panic(err) // only for options that do not exist
	}
	var b bytes.Buffer
	p.w.ResetContentSize(&b, int64(len(data)))
	if _, err = p.w.Write(data); err == nil {
		err = p.w.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// unpack reverses pack. The result has at most limit bytes.
func unpack(data []byte, limit int64) ([]byte, error) {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(limit)))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	plain, err := r.DecodeAll(data, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return plain, nil
}

// KeyOf is where the bytes of a document lie: _publish/files/<sha256>.
func KeyOf(row tree.Row) string { return files + row.SHA256 }

// RawKeyOf is where the bytes of a large file lie that no index names, as they are:
// _publish/raw/<sha256>. Its path is for clients, and may have others any time.
func RawKeyOf(row tree.Row) string { return raw + row.SHA256 }

// FileUpload is the upload of a document to KeyOf. The bytes are compressed, always to
// the same ones.
func FileUpload(row tree.Row, data []byte) Upload {
	return Upload{Key: KeyOf(row), Body: bodyOf(pack(data)), Type: typePlain}
}

// File returns the bytes of a document, from the cache where they are there; see KeyOf.
func (s *Site) File(ctx context.Context, row tree.Row) ([]byte, error) {
	var plain []byte
	_, err := s.cached(ctx, "file-"+row.SHA256, KeyOf(row), maxFile, func(data []byte) (err error) {
		if plain, err = unpack(data, maxFile); err == nil && !s.isFile(row, plain) {
			err = fmt.Errorf("%w: it has other bytes", ErrDamaged)
		}
		return err
	})
	return plain, err
}

// isFile reports whether bytes are those of a document, in its own form or in that which
// clients read.
func (s *Site) isFile(row tree.Row, data []byte) bool {
	return sumOf(data) == row.SHA256 || s.Own != nil && sumOf(s.Own(data)) == row.SHA256
}

// samePacked refuses a document whose unpacked bytes are not those that its key says.
func (s *Site) samePacked(ctx context.Context, u Upload) error {
	_, err := s.uncached().File(ctx, tree.Row{SHA256: u.Key[len(files):]})
	if errors.Is(err, ErrDamaged) {
		return &ReplacedError{Key: u.Key}
	}
	return err
}

// Open reads an object, such as content at its path.
func (s *Site) Open(ctx context.Context, key string, opt Get) (*Object, error) {
	var o *Object
	err := s.again(ctx, func() error {
		var err error
		o, err = s.Store.Get(ctx, key, opt)
		return err
	})
	return o, err
}

func (s *Site) manifestPath(ref Ref) string { return filepath.Join(s.Cache, "manifest-"+ref.SHA256) }
