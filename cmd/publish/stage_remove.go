package main

import (
	"github.com/urfave/cli/v2"
)

func (p *program) stageRemoveCommand() *command {
	return verb(&cli.Command{
		Name: "remove", Aliases: []string{"rm"}, ArgsUsage: "WHAT...",
		Usage: "take images out of staging",
		Description: "WHAT is a fingerprint (twelve digits or more of it), a product, product/version, or a path; in " +
			"format oci a repository, repository:tag, repository@digest, a path, or a digest of the image or of a part. It " +
			"is taken out of the indexes; its files stay until nothing needs them. The files of a plain tree go to " +
			"trash for one grace window. If one of WHAT is not there, nothing is removed.",
	}, 1, -1, p.stageRemove).
		example("take one version out of staging", "publish stage remove debian:12:default:amd64/20260103_00:00").
		example("take a product out of staging, with all its versions",
			"publish stage remove alpine:3.23:default:amd64").
		completes(every(p.staged))
}

// removedImage is one image, or file, that stage remove took out.
type removedImage struct {
	Product     string `json:"product"`
	Version     string `json:"version"`
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	Ref         string `json:"ref,omitempty"` // what people write; "" for product/version
	called      string
}

func (p *program) stageRemove(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	images, err := r.Remove(c.Context, c.Args().Slice()...)
	if err != nil {
		return err
	}
	out := []removedImage{}
	for _, i := range images {
		out = append(out, removedImage{i.Product, i.Version, i.Type, i.Fingerprint, i.Ref, oneLine(i.Called())})
	}
	return p.answer(map[string][]removedImage{"removed": out}, func() {
		for _, i := range out {
			switch {
			case i.Version == "":
				p.say("removed %s", oneLine(i.Product))
			case i.Fingerprint == "":
				p.say("removed %s, which clients skip", i.called)
			default:
				p.say("removed %s, %s, %s", i.called, i.Type, short(i.Fingerprint))
			}
		}
	})
}
