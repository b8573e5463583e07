package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

func (p *program) stageAddCommand() *command {
	return verb(&cli.Command{
		Name: "add", ArgsUsage: "METADATA [ROOTFS...] | DIR",
		Usage: "stage an image",
		Description: "Stages the image that METADATA (a tarball with metadata.yaml, compressed or not) and the root " +
			"files make: a squashfs or tarball for containers, a qcow2 disk for virtual machines, one or both; " +
			"METADATA alone is a unified image. DIR is a directory as distrobuilder leaves it. Prints a fingerprint " +
			"a line.\n\n" +
			"The same image again changes nothing. Another one under the same version's name replaces it.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "alias", Usage: "give it a further `ALIAS`; may be given again"},
			&cli.BoolFlag{Name: "no-default-alias", Usage: "without the alias OS/RELEASE/VARIANT"},
			&cli.StringFlag{Name: "product", Usage: "call the product `NAME` instead of OS:RELEASE:VARIANT:ARCH"},
			&cli.StringSliceFlag{Name: "requirement", Usage: "the product requires `KEY=VALUE`; may be given again"},
			&cli.BoolFlag{Name: "move",
				Usage: "take the files themselves, where they are on the same file system, instead of copies"},
			&cli.BoolFlag{Name: "force",
				Usage: "stage it even if this content was revoked; promote also needs --force then"},
		},
	}, 1, -1, p.stageAdd).
		example("stage an image as distrobuilder leaves it", "publish stage add build").
		example("stage an image with another alias, from two files",
			"publish stage add build/incus.tar.gz build/rootfs.squashfs --alias debian/stable").
		completes(every(these(":files")))
}

// added is the answer of stage add.
type added struct {
	Images    []addedImage `json:"images"`
	Replaced  []string     `json:"replaced"` // paths that no index names any more
	Unchanged bool         `json:"unchanged"`
}

type addedImage struct {
	Fingerprint string `json:"fingerprint"`
	Product     string `json:"product"`
	Version     string `json:"version"`
	Type        string `json:"type"`
	Ref         string `json:"ref,omitempty"` // what people write; "" for product/version
	called      string
}

func (p *program) stageAdd(c *cli.Context) error {
	req := stage.AddRequest{Files: c.Args().Slice(), Move: c.Bool("move"),
		Addition: catalog.Addition{Name: c.String("product"), Aliases: c.StringSlice("alias"),
			NoDefaultAlias: c.Bool("no-default-alias"), Requirements: map[string]string{}}}
	if c.IsSet("product") && req.Name == "" {
		return usage("", "--product: is empty")
	}
	for _, kv := range c.StringSlice("requirement") {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return usage("", "--requirement: %q is not KEY=VALUE", kv)
		}
		if old, twice := req.Requirements[key]; twice && old != value {
			return usage("", "--requirement: %s is given twice, as %q and %q", key, old, value)
		}
		req.Requirements[key] = value
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	for _, path := range req.Files {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return &publish.Error{Kind: publish.NotFound, Path: path, Fact: "no such file", Hint: "nothing was staged"}
		}
	}
	did, err := r.Add(c.Context, req, c.Bool("force"))
	if errors.Is(err, catalog.ErrByHand) {
		_, others := byHand(r.Config.Format)
		return usage("copy the files into "+r.Stage.Dir, "stage add needs format %s; this repository's is %s", others,
			r.Config.Format)
	}
	if err != nil {
		return err
	}
	for _, kept := range did.Kept {
		p.warn("not moved, but copied: " + message(kept))
	}
	a := added{Replaced: append([]string{}, did.Replaced...), Unchanged: did.Unchanged}
	for _, i := range did.Images {
		a.Images = append(a.Images, addedImage{i.Fingerprint, i.Product, i.Version, i.Type, i.Ref, i.Called()})
	}
	return p.answer(a, func() {
		word := "staged"
		if did.Unchanged {
			word = "already staged"
		}
		for _, i := range a.Images {
			p.note("%s: %s, %s", word, i.called, i.Type)
			p.say("%s", i.Fingerprint)
		}
		for _, path := range a.Replaced {
			p.note("replaced: %s; no index names it any more", path)
		}
	})
}
