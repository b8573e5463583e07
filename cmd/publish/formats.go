package main

import (
	"slices"
	"strings"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/plain"
	"example.com/publish/stage/simplestreams"
)

// formats are the values of the key format, the default first. A new format is a
// package and a line here.
var formats = []struct {
	name   string
	format catalog.Format // nil: not in this version
	byHand bool           // its files are copied into staging: stage add is not for it
}{
	{name: "simplestreams", format: simplestreams.Format{}},
	{name: "oci"},
	{name: "plain", format: plain.Format{}, byHand: true},
}

// format is the format that a configuration names.
func format(name string) (catalog.Format, error) {
	for _, f := range formats {
		if f.name == name && f.format != nil {
			return f.format, nil
		}
	}
	return nil, usage("this version knows "+strings.Join(formatNames(), " and "),
		"format: %q is not in this version of publish", name)
}

// formatNames are those that this version has.
func formatNames() (names []string) {
	for _, f := range formats {
		if f.format != nil {
			names = append(names, f.name)
		}
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
		case f.name == name:
			is = f.byHand
		case f.format != nil && !f.byHand:
			names = append(names, f.name)
		}
	}
	return is, strings.Join(names, " or ")
}

// choices is what a configuration chooses from.
func choices() publish.Choices {
	c := publish.Choices{Sites: siteKinds()}
	c.Formats.Here = slices.Sorted(slices.Values(formatNames()))
	for _, f := range formats {
		c.Formats.Known = append(c.Formats.Known, f.name)
	}
	return c
}
