package oci

import (
	"strings"

	"example.com/publish/stage/catalog"
)

// Setup implements [catalog.Format]. Incus adds the registry as a remote, and refuses one
// without TLS; so does Docker, except at the addresses of the machine itself.
func (Format) Setup(at catalog.Address) []catalog.Command {
	if at.Secure() {
		return catalog.Commands(catalog.Command{Label: "Incus", Text: catalog.Shell("incus", "remote", "add", at.Remote(),
			"https://"+at.Host(), "--protocol", "oci")})
	}
	remark := "Incus only takes servers with https."
	if !loopback(at.Host()) {
		remark += " Docker takes this address if it is one of the insecure-registries in its daemon.json."
	}
	return []catalog.Command{{Label: remark}}
}

// loopback reports whether Docker takes a host for the machine itself.
func loopback(host string) bool {
	return strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "localhost")
}

// Commands implements [catalog.Format]. A registry is a host: it is not below a path.
func (f Format) Commands(at catalog.Address, i catalog.Image, _ bool) []catalog.Command {
	if i.Skipped != "" {
		return nil
	}
	exact := at.Host() + "/" + i.Product + "@" + i.Fingerprint
	skopeo := []string{"skopeo", "inspect"}
	if !at.Secure() {
		skopeo = append(skopeo, "--tls-verify=false")
	}
	list := []catalog.Command{
		{Text: catalog.Shell("docker", "pull", at.Host()+"/"+f.Ref(i.Of()))},
		{Label: "exactly this image", Text: catalog.Shell("docker", "pull", exact)},
		{Label: "look without pulling", Text: catalog.Shell(append(skopeo, "docker://"+exact)...)},
	}
	if at.Secure() && !strings.HasPrefix(i.Version, "@") {
		list = append(list, catalog.Command{Label: "Incus", Text: catalog.Shell("incus", "launch",
			at.Remote()+":"+f.Ref(i.Of()))})
	}
	if strings.HasPrefix(i.Version, "@") {
		list = list[1:]
	}
	return catalog.Commands(list...)
}
