// Package plain is the format of a tree that has no index: any directory.
//
// Its rules:
//
//   - Every regular file is published as it is, under its own name, and so is
//     a relative link that stays inside the tree.
//   - No file is content: any may be rewritten under its name. A promote that
//     replaces one says so as a warning, since no index tells a client that it
//     changed, and the new file wins. A file that disappears is carried for one
//     grace window, as in any tree.
//   - Files with a name that they have only while an upload writes them are
//     left out until they are renamed (see catalog.Uploading); .htaccess,
//     .well-known, .htaccess.backup and index.html~ are published.
package plain

import (
	"context"

	"example.com/publish/stage/catalog"
)

// Format implements [catalog.Format] for trees without indexes.
type Format struct{}

// Name is "plain".
func (Format) Name() string { return "plain" }

// Class is InProgress for the temporary names of uploads, and Whole for all
// others.
func (Format) Class(p string) catalog.Class {
	if catalog.Uploading(p) {
		return catalog.InProgress
	}
	return catalog.Whole
}

// Read finds nothing: there is no index.
func (Format) Read(context.Context, catalog.Source) (*catalog.Catalog, error) {
	return &catalog.Catalog{}, nil
}

// Documents returns none.
func (Format) Documents(catalog.Source) ([]string, error) { return nil, nil }

// Ref is the path of a file.
func (Format) Ref(n catalog.Name) string { return n.String() }

// ParseRef is the reverse of Ref.
func (Format) ParseRef(ref string) catalog.Name { return catalog.ParseName(ref) }

// Clearsigned returns "": there are no twins.
func (Format) Clearsigned(string) string { return "" }

// Without has no document to write.
func (Format) Without(context.Context, catalog.Source, func(catalog.Image) bool) ([]catalog.Document, error) {
	return nil, nil
}

// Bring returns ErrByHand: the files of a tree without indexes are copied by hand.
func (Format) Bring(context.Context, catalog.Input, catalog.Sink, catalog.Addition) (catalog.Edit, error) {
	return nil, catalog.ErrByHand
}

// Merge has no document to write.
func (Format) Merge(context.Context, catalog.Source) (catalog.Edit, error) {
	return func(context.Context, catalog.Source) (*catalog.Change, error) { return &catalog.Change{}, nil }, nil
}

// WithoutVersions has no document to write.
func (Format) WithoutVersions(context.Context, catalog.Source, func(catalog.Name) bool) ([]catalog.Document, error) {
	return nil, nil
}

// Setup returns nothing.
func (Format) Setup(catalog.Address) []catalog.Command { return nil }

// Commands has how to download a file.
func (Format) Commands(at catalog.Address, i catalog.Image, _ bool) []catalog.Command {
	return catalog.Commands(catalog.Command{Text: catalog.Shell("curl", "-fLO", at.Of(i.Product))})
}
