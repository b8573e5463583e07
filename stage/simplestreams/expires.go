package simplestreams

import (
	"io"
	"time"
)

// Expires is the expiry_date that an image's own metadata tells: no catalog
// carries it. See [ReadMetadata] for its errors.
func (Format) Expires(metadata io.Reader) (time.Time, error) {
	m, err := ReadMetadata(metadata)
	if err != nil {
		return time.Time{}, err
	}
	return m.Expires, nil
}
