package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

func (p *program) stageAddCommand() *command {
	return verb(&cli.Command{
		Name: "add", ArgsUsage: "METADATA [ROOTFS...] | DIR | SOURCE...",
		Usage: "stage an image",
		Description: "Stages the image that METADATA (a tarball with metadata.yaml, compressed or not) and the root " +
			"files make: a squashfs or tarball for containers, a qcow2 disk for virtual machines, one or both; " +
			"METADATA alone is a unified image. DIR is a directory as distrobuilder leaves it. Prints a fingerprint " +
			"a line.\n\n" +
			"The same image again changes nothing. Another one under the same version's name replaces it.\n\n" +
			"In a repository of format oci each SOURCE is an image layout, an OCI archive, what docker save writes " +
			"(plain, or packed by gzip or zstd), or - for one on standard input. Its images come with all that they " +
			"lead to and with what refers to them, under the names that SOURCE has for them. Prints a digest a line.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "alias", Usage: "give it a further `ALIAS`; may be given again"},
			&cli.BoolFlag{Name: "no-default-alias", Usage: "without the alias OS/RELEASE/VARIANT"},
			&cli.StringFlag{Name: "product", Usage: "call the product `NAME` instead of OS:RELEASE:VARIANT:ARCH"},
			&cli.StringFlag{Name: "name", Usage: "oci: call the image `REF`, as docker writes it; with a digest, other " +
				"content is refused"},
			&cli.StringFlag{Name: "repository", Usage: "oci: put tags without a repository into `REPO`"},
			&cli.StringSliceFlag{Name: "only", Usage: "oci: stage only the tag `TAG`; may be given again"},
			&cli.StringSliceFlag{Name: "platform",
				Usage: "oci: of an image with several, only `OS/ARCH[/VARIANT]`; may be given again"},
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
		completes(every(these(":files"))).
		completesFlag("platform", somePlatforms)
}

// added is the answer of stage add.
type added struct {
	Images    []addedImage `json:"images"`
	Replaced  []string     `json:"replaced"` // paths that no index names any more
	Unchanged bool         `json:"unchanged"`

	Findings []catalog.Finding `json:"findings,omitempty"` // about what was added
}

type addedImage struct {
	Fingerprint string `json:"fingerprint"`
	Product     string `json:"product"`
	Version     string `json:"version"`
	Type        string `json:"type"`
	Ref         string `json:"ref,omitempty"` // what people write; "" for product/version
	// MovedFrom is the digest that the tag stood for; "" where it was none, or the same.
	MovedFrom string `json:"moved_from,omitempty"`
	called    string
}

func (p *program) stageAdd(c *cli.Context) error {
	req := stage.AddRequest{Files: c.Args().Slice(), Move: c.Bool("move"),
		Addition: catalog.Addition{Name: cmp.Or(c.String("name"), c.String("product")), Aliases: c.StringSlice("alias"),
			NoDefaultAlias: c.Bool("no-default-alias"), Requirements: map[string]string{},
			Repository: c.String("repository"), Only: c.StringSlice("only"), Platforms: c.StringSlice("platform")}}
	for _, name := range []string{"product", "name", "repository"} {
		if c.IsSet(name) && c.String(name) == "" {
			return usage("", "--%s: is empty", name)
		}
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
	if streams(r.Config.Format) {
		req.Stdin = standardInput(c.Context)
	}
	if name, other := nameFlags(r.Config.Format); c.IsSet(other) {
		return usage("--"+name+" names it", "--%s is for another format; this repository's is %s", other, r.Config.Format)
	}
	for _, path := range req.Files {
		if path == "-" && req.Stdin != nil {
			continue
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return &publish.Error{Kind: publish.NotFound, Path: path, Fact: "no such file", Hint: "nothing was staged"}
		}
	}
	defer overlap()()
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
	a := addedOf(did)
	p.printWarnings(a.Findings)
	return p.answer(a, func() {
		word := "staged"
		if did.Unchanged {
			word = "already staged"
		}
		for _, i := range a.Images {
			p.note("%s: %s, %s", word, i.called, i.Type)
			if i.MovedFrom != "" {
				p.note("moved: %s stood for %s", i.called, i.MovedFrom)
			}
			p.say("%s", i.Fingerprint)
		}
		for _, path := range a.Replaced {
			p.note("replaced: %s; no index names it any more", path)
		}
	})
}

func addedOf(did *stage.Added) added {
	a := added{Replaced: append([]string{}, did.Replaced...), Unchanged: did.Unchanged, Findings: did.Findings}
	for _, i := range did.Images {
		a.Images = append(a.Images, addedImage{i.Fingerprint, i.Product, i.Version, i.Type, i.Ref, i.Before, i.Called()})
	}
	return a
}

// standardInput is what comes on standard input, until ctx ends: a read of it cannot
// be interrupted otherwise.
func standardInput(ctx context.Context) io.Reader {
	r, w := io.Pipe()
	var once sync.Once
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
	return readerFunc(func(b []byte) (int, error) {
		once.Do(func() {
			go func() {
				_, err := io.Copy(w, os.Stdin)
				_ = w.CloseWithError(err) // nil: the end
			}()
		})
		return r.Read(b)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
