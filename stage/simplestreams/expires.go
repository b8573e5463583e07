package simplestreams

import (
	"io"
	"time"
)

// Expires returns the expiry_date in the metadata of an image. No catalog has this
// date. For its errors see [ReadMetadata].
func (Format) Expires(metadata io.Reader) (time.Time, error) {
	m, err := ReadMetadata(metadata)
	if err != nil {
		return time.Time{}, err
	}
	return m.Expires, nil
}
