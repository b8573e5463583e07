package main

import (
	"strings"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/oci"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/simplestreams"
)

// formats are the values of the key format, the default first. A new format is a
// package and a line here.
var formats = []struct {
	format catalog.Format
	byHand bool // its files are copied into staging: stage add is not for it
	refs   bool // its images are called by references
	thrift *thrift
}{
	{format: simplestreams.Format{}, thrift: &forFiles},
	{format: oci.Format{}, refs: true, thrift: &forImages},
	{format: plain.Format{}, byHand: true, thrift: &forFiles},
}

// format is the format that a configuration names.
func format(name string) (catalog.Format, error) {
	for _, f := range formats {
		if f.format.Name() == name {
			return f.format, nil
		}
	}
	return nil, usage("", "format: %q is not one of %s", name, strings.Join(formatNames(), ", "))
}

// configured is the format of a repository as its configuration wants it.
func configured(c *publish.Config) (catalog.Format, error) {
	f, err := format(c.Format)
	if of, ok := f.(oci.Format); ok {
		of.Sparse = c.SparseIndexes
		return of, err
	}
	return f, err
}

// thriftOf says how much memory commands take for a format.
func thriftOf(name string) *thrift {
	for _, f := range formats {
		if f.format.Name() == name {
			return f.thrift
		}
	}
	return &forFiles
}

// formatNames are the names of all.
func formatNames() (names []string) {
	for _, f := range formats {
		names = append(names, f.format.Name())
	}
	return names
}

// formatsText is a sentence's end about them.
func formatsText() string {
	names := formatNames()
	names[0] += " (default)"
	return strings.Join(names, " or ")
}

// byHand reports whether a format's files are copied into staging, and names the
// formats that stage add is for.
func byHand(name string) (is bool, others string) {
	var names []string
	for _, f := range formats {
		switch {
		case f.format.Name() == name:
			is = f.byHand
		case !f.byHand:
			names = append(names, f.format.Name())
		}
	}
	return is, strings.Join(names, " or ")
}

// choices is what a configuration chooses from.
func choices() publish.Choices {
	return publish.Choices{Formats: formatNames(), Sites: siteKinds(), Tagger: tagger, Store: openStore,
		Format:   func(name string) catalog.Format { f, _ := format(name); return f },
		Mirrored: func(format string) bool { return upstreams[format] != nil }}
}

// tagger is the format of this name if it has tags.
func tagger(name string) (catalog.Tagger, bool) {
	f, err := format(name)
	if err != nil {
		return nil, false
	}
	return catalog.As[catalog.Tagger](f)
}

// streams reports whether stage add reads a format's images from standard input.
func streams(name string) bool {
	f, err := format(name)
	_, ok := catalog.As[catalog.Gatherer](f)
	return err == nil && ok
}

// refs reports whether a format's images are called by references.
func refs(name string) bool {
	for _, f := range formats {
		if f.format.Name() == name {
			return f.refs
		}
	}
	return false
}

// nameFlags are the flag of stage add that names an image of a format, and the one
// that does so for others.
func nameFlags(name string) (own, other string) {
	if refs(name) {
		return "name", "product"
	}
	return "product", "name"
}
