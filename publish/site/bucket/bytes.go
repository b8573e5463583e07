package bucket

import (
	"context"
	"fmt"

	"example.com/publish/stage/tree"
)

// Bytes is File for a document that lies under another key than KeyOf, as it is.
func (s *Site) Bytes(ctx context.Context, key string, row tree.Row) ([]byte, error) {
	return s.cached(ctx, "document-"+row.SHA256, key, maxFile, func(data []byte) error {
		if sumOf(data) != row.SHA256 {
			return fmt.Errorf("%w: it has other bytes", ErrDamaged)
		}
		return nil
	})
}
