package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/stage/catalog"
)

func (p *program) resolveCommand() *command {
	return verb(&cli.Command{
		Name: "resolve", Category: "look", ArgsUsage: "REF",
		Usage: "print which digest a tag stands for",
		Description: "Prints the image that REF stands for in production as repository@digest, which never stands for " +
			"another one. REF is a name as Docker reads it, such as docker.io/library/alpine:3.20. With --expect the exit " +
			"status says whether it is still the image that somebody knows: 3 if it is another one. Takes no lock.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "in", Usage: "look in `TREE`: staging, production or a generation"},
			&cli.StringFlag{Name: "expect", Usage: "exit with 3 unless it has this `DIGEST`, of the image or of one " +
				"platform, or this fingerprint in Incus; twelve digits of it are enough"},
		},
	}, 1, 1, p.resolve).
		note("takes no lock").
		example("pin what a tag stands for now", "publish resolve docker.io/acme/app:v1").
		completes(upTo(1, p.served)).
		completesFlag("in", p.trees("staging", "production"))
}

// resolved is the answer of resolve.
type resolved struct {
	Name   string `json:"name"` // repository@digest
	Ref    string `json:"ref"`  // as the tree has it
	Digest string `json:"digest"`
}

// isDigest reports whether a word is a digest, or enough of its beginning.
func isDigest(word string) bool { return catalog.ParseWhat(word).Digits() != "" }

func (p *program) resolve(c *cli.Context) error {
	if c.IsSet("expect") && !isDigest(c.String("expect")) {
		return usage("twelve digits or more, with or without the algorithm", "--expect: %q is no digest",
			c.String("expect"))
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	out, err := r.Resolve(c.Context, c.String("in"), c.Args().First(), c.String("expect"))
	if err != nil {
		return err
	}
	return p.answer(resolved{out.Name, out.Ref, out.Digest}, func() { p.say("%s", out.Name) })
}
