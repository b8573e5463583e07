package catalog

// A Blanker is a Format with content that says nothing, and that stands in the images of
// everybody. Who takes an image away does not mean it.
type Blanker interface {
	// Blank reports whether that is so of the content with this sha256, in hex.
	Blank(sha256 string) bool
}

// Blank is false for every content of a Format that is no [Blanker].
func Blank(f Format, sha256 string) bool {
	b, ok := As[Blanker](f)
	return ok && b.Blank(sha256)
}
