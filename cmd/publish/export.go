package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

func (p *program) exportCommand() *command {
	return verb(&cli.Command{
		Name: "export", Category: "production", ArgsUsage: "[REF...]",
		Usage: "write images into an archive, or a generation into a bundle",
		Description: "Writes an OCI archive of images of production, with all platforms and all that refers to them. " +
			"Engines load it, and the digests stay: docker load, ctr image import, podman load, skopeo copy " +
			"oci-archive:FILE. REF is a name as Docker reads it, such as docker.io/library/alpine:3.20, or NAME@DIGEST. " +
			"Engines without containerd load the image of one platform.\n\n" +
			"With --generation, and no REF, it writes a bundle of a whole generation, of every format, for a site " +
			"without a network: stage import reads it. --base leaves out what that site has.\n\n" +
			"Without -o it writes to standard output. A file is complete, or it is not there. Takes no lock.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`; - is standard output"},
			&cli.StringFlag{Name: "in", Usage: "take the images of `TREE`: staging, production or a generation"},
			&cli.StringFlag{Name: "platform",
				Usage: "the `PLATFORM` that engines without containerd load, such as linux/arm64; default: this machine's"},
			&cli.StringFlag{Name: "generation", Usage: "write a bundle of `GENERATION`: production or a number"},
			&cli.StringFlag{Name: "base", Usage: "leave content out of the bundle that `GENERATION` has"},
		},
	}, 0, -1, p.export).
		note("takes no lock").
		example("write an image into a file that docker load, podman load and ctr import read",
			"publish export docker.io/acme/app:v1 -o app.tar").
		example("write what generation 2 has and generation 1 lacks into a bundle for another site",
			"publish export --generation 2 --base 1 -o bundle.tar").
		completes(every(p.served)).
		completesFlag("output", these(":files")).
		completesFlag("in", p.trees("staging", "production")).
		completesFlag("generation", p.trees("production")).
		completesFlag("base", p.trees("production"))
}

func (p *program) export(c *cli.Context) error {
	bundle := c.IsSet("generation")
	switch {
	case bundle && c.NArg() > 0:
		return usage("leave REF or --generation out", "publish export: a bundle has a whole generation")
	case bundle && (c.IsSet("in") || c.IsSet("platform")):
		return usage("", "publish export: --in and --platform are for images, and --generation is for a bundle")
	case !bundle && c.IsSet("base"):
		return usage("publish export --generation N --base M", "publish export: --base is for a bundle")
	case !bundle && c.NArg() == 0:
		return usage("publish export REF..., or publish export --generation N", "publish export: too few arguments")
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	if bundle {
		return p.exportBundle(c, r)
	}
	return p.exportImages(c, r)
}

// exported is the answer of export.
type exported struct {
	Output   string            `json:"output"`
	Images   []exportedImage   `json:"images"`
	Files    int               `json:"files"`
	Bytes    int64             `json:"bytes"`
	Findings []catalog.Finding `json:"findings"` // warnings
}

type exportedImage struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

func (p *program) exportImages(c *cli.Context, r *publish.Repo) error {
	x := catalog.Export{Images: c.Args().Slice(), Platform: c.String("platform"), Machine: "linux/" + runtime.GOARCH}
	var out *catalog.Exported
	to := c.String("output")
	err := p.deliver(to, func(w io.Writer) (err error) {
		out, err = r.Export(c.Context, w, c.String("in"), x)
		return err
	})
	if err != nil {
		return err
	}
	p.printWarnings(out.Findings)
	a := exported{to, []exportedImage{}, out.Files, out.Bytes, append([]catalog.Finding{}, out.Findings...)}
	for _, i := range out.Images {
		a.Images = append(a.Images, exportedImage{i.Name, i.Digest.String()})
	}
	return p.summary(to, a, func(say func(string, ...any)) {
		for _, i := range a.Images {
			say("%s: %s", i.Name, i.Digest)
		}
		p.note("%s: %s, %s (%s)", outputName(to), count(len(a.Images), "image"), count(a.Files, "blob"), size(a.Bytes))
	})
}

// bundled is the answer of export --generation.
type bundled struct {
	Output     string `json:"output"`
	Generation int    `json:"generation"`
	Base       int    `json:"base"` // 0 for none
	TreeID     string `json:"tree_id"`
	Files      int    `json:"files"` // contents that the bundle has
	Bytes      int64  `json:"bytes"`
	LeftFiles  int    `json:"left_files"` // files that it leaves out, since base has their content
	LeftBytes  int64  `json:"left_bytes"`
}

func (p *program) exportBundle(c *cli.Context, r *publish.Repo) error {
	var out *publish.Bundled
	to := c.String("output")
	err := p.deliver(to, func(w io.Writer) (err error) {
		out, err = r.Bundle(c.Context, w, c.String("generation"), c.String("base"))
		return err
	})
	if err != nil {
		return err
	}
	a := bundled{to, out.Generation, out.Base, out.TreeID, out.Files, out.Bytes, out.Left, out.LeftOut}
	return p.summary(to, a, func(say func(string, ...any)) {
		left := ""
		if a.Base != 0 {
			left = "; generation " + strconv.Itoa(a.Base) + " has " + count(a.LeftFiles, "more file") + " (" +
				size(a.LeftBytes) + ")"
		}
		say("%s: generation %d, %s (%s)%s", outputName(to), a.Generation, count(a.Files, "file"), size(a.Bytes), left)
	})
}

// toStdout reports whether what a command writes goes to standard output.
func toStdout(to string) bool { return to == "" || to == "-" }

func outputName(to string) string {
	if toStdout(to) {
		return "standard output"
	}
	return to
}

// deliver writes an archive to a file, or to standard output. A file is complete or
// not there.
func (p *program) deliver(to string, write func(io.Writer) error) error {
	if !toStdout(to) {
		fi, err := os.Stat(to)
		switch {
		case err == nil && fi.IsDir():
			return usage("name a file in it", "%s: is a directory", to)
		case err == nil && !fi.Mode().IsRegular():
			return usage("let the shell write there: > "+to, "%s: is not a file", to)
		case errors.Is(err, fs.ErrNotExist) || err == nil:
			return durable.WriteNameless(to, 0o644, write)
		}
		return err
	}
	switch {
	case p.json:
		return usage("give -o FILE", "--json: the archive goes to standard output, and so would the answer")
	case isTerminal(p.stdout):
		return usage("give -o FILE, or send it into a pipe", "standard output is a terminal: an archive is no text")
	}
	if err := write(p.stdout); err != nil {
		var e *publish.Error
		if errors.As(err, &e) && e.Kind != publish.Failed || errors.As(err, new(*catalog.UsageError)) {
			return err
		}
		return &hinted{err, "what was written to standard output has no end, and is no archive"}
	}
	return nil
}

// summary is answer for a command whose archive may be on standard output: then the
// lines are notes.
func (p *program) summary(to string, a any, people func(say func(string, ...any))) error {
	return p.answer(a, func() {
		if toStdout(to) {
			people(p.note)
		} else {
			people(p.say)
		}
	})
}
