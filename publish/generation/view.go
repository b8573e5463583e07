package generation

// View is a generation with its tree.
type View struct {
	*Manifest
	Dir string
}
