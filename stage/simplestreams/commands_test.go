package simplestreams

import (
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

func TestCommands(t *testing.T) {
	https, http := catalog.Address{URL: "https://images.example.org/base"}, catalog.Address{URL: "http://10.0.0.1:8080"}
	image := catalog.Image{Product: "debian:12:default:amd64", Version: "20260101", Type: container,
		Fingerprint: strings.Repeat("0123456789abcdef", 4), Aliases: []string{"debian/12", "debian/bookworm"},
		Paths: []string{"images/d/incus.tar.xz", "images/d/root fs.squashfs"}}
	vm := image
	vm.Type, vm.Aliases = virtualMachine, []string{"$(reboot)"}
	skipped := image
	skipped.Skipped = "it has no root item"
	hidden := image
	hidden.Aliases = []string{"debian\u202e/12"}
	for _, c := range []struct {
		name   string
		at     catalog.Address
		image  catalog.Image
		latest bool
		want   string
	}{
		{"newest", https, image, true, "incus launch images.example.org:debian/12\n" +
			"exactly this version: incus launch images.example.org:0123456789ab"},
		{"older", https, image, false, "exactly this version: incus launch images.example.org:0123456789ab"},
		{"virtual machine", https, vm, true, "incus launch 'images.example.org:$(reboot)' --vm\n" +
			"exactly this version: incus launch images.example.org:0123456789ab --vm"},
		{"skipped", https, skipped, true, ""},
		{"a name with what nobody sees", https, hidden, true,
			"exactly this version: incus launch images.example.org:0123456789ab"},
		{"without TLS", http, image, true, "curl -fL --remote-name-all http://10.0.0.1:8080/images/d/incus.tar.xz " +
			"http://10.0.0.1:8080/images/d/root%20fs.squashfs\n" +
			"then: incus image import ./incus.tar.xz './root fs.squashfs' --alias debian/12"},
	} {
		if got := typed(Format{}.Commands(c.at, c.image, c.latest)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
	if got, want := typed(Format{}.Setup(https)), "Incus: incus remote add images.example.org "+
		"https://images.example.org/base --protocol simplestreams\n"+
		"LXD: lxc remote add images.example.org https://images.example.org/base --protocol simplestreams"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := typed(Format{}.Setup(http)); strings.Contains(got, "remote add") {
		t.Errorf("a command that clients refuse: %s", got)
	}
}

// typed has the commands as lines.
func typed(list []catalog.Command) string {
	var lines []string
	for _, c := range list {
		line := c.Text
		if c.Label != "" {
			line = strings.TrimSpace(c.Label + ": " + c.Text)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
