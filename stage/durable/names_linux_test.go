package durable

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOtherNames(t *testing.T) {
	const table = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:1 /srv/r/generations/000001 /mnt/web rw - ext4 /dev/sda1 rw
31 22 8:1 /srv/with\040blank /mnt/b\134c rw - ext4 /dev/sda1 rw
32 22 0:40 / /srv/vol rw - tmpfs none rw
33 22 8:1 /srv/r /mnt/web2 rw - ext4 /dev/sda1 rw
34 33 0:41 / /mnt/web2 rw - tmpfs none rw
not a line
`
	mounts := parseMounts([]byte(table))
	for path, want := range map[string][]string{
		"/mnt/web/images/x":       {"/srv/r/generations/000001/images/x", "/mnt/web2/generations/000001/images/x"},
		"/mnt/web":                {"/srv/r/generations/000001", "/mnt/web2/generations/000001"},
		"/mnt/webster":            nil,
		`/mnt/b\c/x`:              {"/srv/with blank/x"},
		"/srv/vol/x":              nil,
		"/mnt/web2/x":             nil, // the one on top
		"/srv/r/staging":          {"/mnt/web2/staging"},
		"/srv/r/generations/0000": {"/mnt/web2/generations/0000"},
	} {
		if diff := cmp.Diff(want, otherNames(mounts, path)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if got := Names("/proc/self"); len(got) == 0 || got[0] != "/proc/self" {
		t.Errorf("%q", got)
	}
}
