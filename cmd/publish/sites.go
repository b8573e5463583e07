package main

import (
	"strings"

	"example.com/publish/publish/site"
)

// sites are the values of the key switch, the default first. A new site is a
// file in its package and a line here.
var sites = []struct {
	make func(site.Place) site.Site
	what string // production is there, in help; may be empty
}{
	{make: site.Symlink},
	{make: site.Exchange, what: "a real directory"},
}

// siteKinds are the sites of the table.
func siteKinds() (kinds site.Kinds) {
	for _, s := range sites {
		kinds = append(kinds, s.make)
	}
	return kinds
}

// sitesText is a sentence's end about them.
func sitesText() string {
	var list []string
	for i, name := range siteKinds().Names() {
		if i == 0 {
			name += " (default)"
		}
		if sites[i].what != "" {
			name += ": " + sites[i].what
		}
		list = append(list, name)
	}
	return strings.Join(list, ", or ")
}
