package plain

import (
	"testing"

	"example.com/publish/stage/catalog"
)

func TestClass(t *testing.T) {
	var f catalog.Format = Format{}
	for p, want := range map[string]catalog.Class{
		"index.html":                             catalog.Whole,
		".htaccess":                              catalog.Whole,
		".well-known/security.txt":               catalog.Whole,
		".htaccess.backup":                       catalog.Whole,
		".env.README":                            catalog.Whole,
		".log.202601":                            catalog.Whole,
		".backup20260101":                        catalog.Whole,
		"a/index.html~":                          catalog.Whole,
		".part":                                  catalog.Whole,
		"notes.party":                            catalog.Whole,
		"disk.iso.part":                          catalog.InProgress,
		"a/disk.iso.partial":                     catalog.InProgress,
		"disk.iso.filepart":                      catalog.InProgress,
		"disk.iso.tmp":                           catalog.InProgress,
		"a/.disk.iso.x7Gh2q":                     catalog.InProgress,
		"..htaccess.Ab3dEf":                      catalog.InProgress,
		".index.html5577006791947779410":         catalog.InProgress,
		".in.disk.iso.":                          catalog.InProgress,
		".pureftpd-upload.5f1b":                  catalog.InProgress,
		".nfs00000000000a1b2c00000001":           catalog.InProgress,
		"a/.rsync-partial/disk.iso":              catalog.InProgress,
		".~tmp~/disk.iso":                        catalog.InProgress,
		"a/.rsync-partial-notes/disk.iso":        catalog.Whole,
		"a.nfs00000000000a1b2c00000001/disk.iso": catalog.Whole,
	} {
		if got := f.Class(p); got != want {
			t.Errorf("%s: class %d, want %d", p, got, want)
		}
	}
}
