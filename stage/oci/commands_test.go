package oci

import (
	"slices"
	"strings"
	"testing"

	"example.com/publish/stage/catalog"
)

func TestCommands(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	tagged := catalog.Image{Product: "docker.io/acme/app", Version: "1.0", Fingerprint: digest}
	bare := tagged
	bare.Version = "@" + digest
	const name = "images.example.org/docker.io/acme/app"
	for _, c := range []struct {
		url   string
		image catalog.Image
		want  []string
	}{
		{"https://images.example.org", tagged, []string{"docker pull " + name + ":1.0", "docker pull " + name + "@" + digest,
			"skopeo inspect docker://" + name + "@" + digest, "incus launch images.example.org:docker.io/acme/app:1.0"}},
		{"https://images.example.org", bare, []string{"docker pull " + name + "@" + digest,
			"skopeo inspect docker://" + name + "@" + digest}},
		{"http://127.0.0.1:8080", tagged, []string{"docker pull 127.0.0.1:8080/docker.io/acme/app:1.0",
			"docker pull 127.0.0.1:8080/docker.io/acme/app@" + digest,
			"skopeo inspect --tls-verify=false docker://127.0.0.1:8080/docker.io/acme/app@" + digest}},
	} {
		var got []string
		for _, x := range (Format{}).Commands(catalog.Address{URL: c.url}, c.image, true) {
			got = append(got, x.Text)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %s:\n%s\nwant\n%s", c.url, c.image.Version, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	for url, want := range map[string]string{
		"https://images.example.org": "incus remote add images.example.org https://images.example.org --protocol oci",
		"http://127.0.0.1:8080":      "",
	} {
		if got := (Format{}).Setup(catalog.Address{URL: url})[0].Text; got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}
