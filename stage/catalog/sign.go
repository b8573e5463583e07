package catalog

import "context"

// Signer is a format whose documents clients read in clearsigned copies beside them. A copy
// leads on to copies.
type Signer interface {
	// Clearsign makes the copies of a tree's documents. sign gets the path of a document, beside which
	// its copy belongs, see [Format.Clearsigned], and the text of the copy: that of the document, if
	// it leads on to none. It returns the signed copy, and where that lies, which is what other copies
	// name. A document that has no such copy is left out.
	Clearsign(ctx context.Context, src Source,
		sign func(document string, text []byte) (Document, error)) ([]Document, error)
}
