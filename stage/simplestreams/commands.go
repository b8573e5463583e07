package simplestreams

import (
	"path"

	"example.com/publish/stage/catalog"
)

// Setup implements [catalog.Format]: a remote is added once. Both clients refuse one
// without TLS.
func (Format) Setup(at catalog.Address) []catalog.Command {
	if !at.Secure() {
		return []catalog.Command{{Label: "Incus and LXD only take servers with https. From this address an image can " +
			"be downloaded and imported."}}
	}
	return catalog.Commands(
		catalog.Command{Label: "Incus", Text: catalog.Shell("incus", "remote", "add", at.Remote(), at.URL,
			"--protocol", "simplestreams")},
		catalog.Command{Label: "LXD", Text: catalog.Shell("lxc", "remote", "add", at.Remote(), at.URL,
			"--protocol", "simplestreams")})
}

// Commands implements [catalog.Format]. An alias stands for the newest version; any other
// one has only its fingerprint.
func (Format) Commands(at catalog.Address, i catalog.Image, latest bool) []catalog.Command {
	if i.Skipped != "" || i.Fingerprint == "" {
		return nil
	}
	if !at.Secure() {
		return downloads(at, i)
	}
	var list []catalog.Command
	launch := func(label, name string) {
		words := []string{"incus", "launch", at.Remote() + ":" + name}
		if i.Type == virtualMachine {
			words = append(words, "--vm")
		}
		list = append(list, catalog.Command{Label: label, Text: catalog.Shell(words...)})
	}
	if latest && len(i.Aliases) > 0 {
		launch("", i.Aliases[0])
	}
	launch("exactly this version", i.Fingerprint[:min(12, len(i.Fingerprint))])
	return catalog.Commands(list...)
}

// downloads are the commands for a client that cannot add the server as a remote.
func downloads(at catalog.Address, i catalog.Image) []catalog.Command {
	get := []string{"curl", "-fL", "--remote-name-all"}
	put := []string{"incus", "image", "import"}
	for _, p := range i.Paths {
		get, put = append(get, at.Of(p)), append(put, "./"+path.Base(p))
	}
	if len(i.Aliases) > 0 {
		put = append(put, "--alias", i.Aliases[0])
	}
	return catalog.Commands(catalog.Command{Text: catalog.Shell(get...)},
		catalog.Command{Label: "then", Text: catalog.Shell(put...)})
}
