package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) validateCommand() *command {
	return verb(&cli.Command{
		Name: "validate", Category: "staging", ArgsUsage: "[staging|production|GENERATION]",
		Usage: "check a tree as a client would see it",
		Description: "Checks that the indexes are sound and that every file they name is there with its size and " +
			"hashes; prints each finding. Errors stop a promote. Default: staging, which is also compared with what " +
			"production serves.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "full", Usage: "read every file, also if its hash is known; also check md5 sums"},
			keyFlag(),
		},
	}, 0, 1, p.validate).
		example("check what is staged", "publish validate").
		example("read every byte of what production serves", "publish validate --full production").
		completesFlag("key", these(":files")).
		completes(upTo(1, p.trees("staging", "production")))
}

func (p *program) validate(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		name = "staging"
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	p.warnConfig(r)
	if err := checkWith(r, c); err != nil {
		return err
	}
	report, err := r.Validate(c.Context, name, c.Bool("full"))
	if err != nil {
		return err
	}
	p.printRedacted(report)
	err = p.answer(publish.ValidatedOf(report), func() {
		for _, f := range report.Findings {
			p.say("%s", findingLine(f))
		}
		if len(report.Findings) == 0 {
			p.idle("%s: %s", tree(name), verdict(report))
			return
		}
		p.say("%s: %s", tree(name), verdict(report))
	})
	if n := len(report.Errors()); err == nil && n > 0 {
		err = &publish.Error{Kind: publish.Invalid, Path: tree(name), Fact: count(n, "error") + " found"}
	}
	return err
}

// tree is the name for people of what validate, verify and diff take.
func tree(name string) string {
	if name == "staging" || name == "production" {
		return name
	}
	return "generation " + name
}
