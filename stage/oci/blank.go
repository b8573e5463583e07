package oci

// blank are the blobs without any content that clients and builders share: {}, which is the
// config of signatures and other artifacts (image specification, "Guidance for an Empty
// Descriptor"), and the layer without files, as docker writes it packed and plain.
var blank = map[string]bool{
	"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a": true,
	"a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4": true,
	"5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef": true,
}

// Blank implements [catalog.Blanker].
func (Format) Blank(sha256 string) bool { return blank[sha256] }
