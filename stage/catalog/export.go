package catalog

import (
	"context"
	"io"
)

// An Exporter is a Format that writes images of a tree into an archive that
// clients load: see As.
type Exporter interface {
	// Export writes such an archive. The bytes are the same each time. The error
	// wraps fs.ErrNotExist for an image that the tree does not have, ErrDigest for
	// one that has another digest than its name says, and is a *UsageError for
	// text that is no name; nothing is written then. After another error the
	// archive has no end, and nobody takes it for whole.
	Export(ctx context.Context, src Source, w io.Writer, x Export) (*Exported, error)
}

// Export says what an archive is to have.
type Export struct {
	Images   []string // as people call them
	Platform string   // that engines load which read one image only, as os/architecture; "": that of Machine
	Machine  string   // os/architecture of this machine
	// Copy writes all bytes of a file of the tree to w, and returns their number. The
	// error wraps ErrDigest if they are others than those of want.
	Copy func(ctx context.Context, w io.Writer, path string, want Digest) (int64, error)
	// Begin is called before the first Copy, with all the bytes that come; may be nil.
	Begin func(bytes int64)
	// Done is called after the last read. Its error ends the archive before its end.
	// It may be nil.
	Done func() error
}

// Exported is what an archive has.
type Exported struct {
	Images   []ExportedImage // in the order in which they were asked for
	Files    int             // of the tree
	Bytes    int64           // of these
	Findings []Finding       // warnings about engines that cannot load it
}

// ExportedImage is an image of an archive.
type ExportedImage struct {
	Name   string // the whole name under which it is loaded
	Digest Digest
}

// As returns a format, or one that it wraps, as something that only some formats
// are, such as an Exporter.
func As[T any](f Format) (T, bool) {
	for f != nil {
		if t, ok := f.(T); ok {
			return t, true
		}
		w, ok := f.(interface{ Unwrap() Format })
		if !ok {
			break
		}
		f = w.Unwrap()
	}
	var none T
	return none, false
}

// Unwrap is for As.
func (w within) Unwrap() Format { return w.Format }

// Unwrap is for As.
func (in including) Unwrap() Format { return in.Format }
