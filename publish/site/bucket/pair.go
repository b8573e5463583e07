package bucket

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // it is the stores' choice
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// untorn is how many equal answers in a row prove that ETags are no digests.
const untorn = 5

// pair is get, for bytes that are replaced later on the condition of their ETag: both must
// be of the same moment. Stores that keep them apart can answer with the bytes from before
// a write and the ETag from after it, while that is under way (versitygw does, in one of
// ten reads beside writes if it has a sidecar). Who built on those bytes would undo the
// write, and the store would let it.
//
// Most stores give the MD5 of the bytes as the ETag of what one PUT made, so that shows it.
// Where several answers in a row are equal and do not fit, ETags are something else.
func (s *Site) pair(ctx context.Context, key string, opt Get, limit int64) (data []byte, info *Info, err error) {
	var lastData []byte
	lastTag, equal := "", 0
	for try := 1; ; try++ {
		data, info, err = s.get(ctx, key, opt, limit)
		if err != nil || fits(data, info.ETag) || s.opaqueTags() {
			return data, info, err
		}
		if lastTag != info.ETag || !bytes.Equal(lastData, data) {
			lastData, lastTag, equal = data, info.ETag, 0
		}
		if equal++; equal == untorn {
			s.learn()
			return data, info, nil
		}
		if err := s.sleep(ctx, s.backoff(try)/2); err != nil {
			return nil, nil, err
		}
	}
}

// fits reports whether an ETag is the MD5 of these bytes, or cannot be one.
func fits(data []byte, etag string) bool {
	tag := strings.Trim(etag, `"`)
	if _, err := hex.DecodeString(tag); err != nil || len(tag) != 2*md5.Size {
		return true
	}
	sum := md5.Sum(data)
	return strings.EqualFold(tag, hex.EncodeToString(sum[:]))
}

func (s *Site) opaqueTags() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opaque && s.Cache != "" {
		_, err := os.Lstat(filepath.Join(s.Cache, opaqueName))
		s.opaque = err == nil
	}
	return s.opaque
}

// opaqueName is the file of the cache that says that ETags are no digests.
const opaqueName = "opaque-etags"

func (s *Site) learn() {
	s.mu.Lock()
	s.opaque = true
	s.mu.Unlock()
	if s.Cache != "" {
		s.store(filepath.Join(s.Cache, opaqueName), nil)
	}
}
