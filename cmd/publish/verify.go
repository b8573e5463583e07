package main

import (
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) verifyCommand() *command {
	return verb(&cli.Command{
		Name: "verify", Category: "look", ArgsUsage: "[GENERATION]",
		Usage: "read every byte of a generation and compare it with its manifest",
		Description: "Default: production. Reports what was changed, removed or added since the generation was made. " +
			"Of a production in an object store it asks for the size and the digest of each object, and reads them " +
			"only with --full. With --url it needs no repository: it asks a server as a client would that has public " +
			"keys, and reports what they did not sign, an older generation than --after, and one past its date. Takes " +
			"no lock.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "full", Usage: "read every byte in an object store, or on a server, too"},
			&cli.StringFlag{Name: "url", Usage: "check the server that has the tree at `URL`"},
			keyFlag(),
			&cli.IntFlag{Name: "after", Usage: "with --url: report a generation older than `GENERATION`"},
		},
	}, 0, 1, p.verify).
		note("takes no lock; with `--url` it checks a server, without a repository").
		example("read all that production serves", "publish verify").
		example("check a server as a client would", "publish verify --url https://images.example.com --key images.gpg").
		completesFlag("key", these(":files")).
		completes(upTo(1, p.generations))
}

// verified is the answer of verify.
type verified struct {
	Generation int `json:"generation"`
	publish.Checked
}

func (p *program) verify(c *cli.Context) error {
	switch {
	case c.IsSet("url"):
		return p.verifyURL(c)
	case c.IsSet("after"):
		return usage("name the server with --url", "--after is of the generation that a server has")
	}
	name := c.Args().First()
	if name != "production" {
		n, err := generation(name)
		if err != nil {
			return err
		}
		if name = "production"; n != 0 {
			name = strconv.Itoa(n)
		}
	}
	r, err := p.open()
	if err != nil {
		return err
	}
	if err := checkWith(r, c); err != nil {
		return err
	}
	report, n, err := r.Verify(c.Context, name, c.Bool("full"))
	if err != nil {
		return err
	}
	p.printRedacted(report)
	err = p.answer(verified{n, publish.CheckedOf(report)}, func() {
		for _, f := range report.Findings {
			p.say("%s", findingLine(f))
		}
		switch {
		case n == 0:
			p.idle("production does not exist yet: there is nothing to verify")
		case len(report.Findings) == 0:
			p.idle("generation %d: %s", n, verdict(report))
		default:
			p.say("generation %d: %s", n, verdict(report))
		}
	})
	if bad := len(report.Errors()); err == nil && bad > 0 {
		err = &publish.Error{Kind: publish.Invalid, Path: fmt.Sprintf("generation %d", n),
			Fact: "is not what its manifest says: " + count(bad, "error") + " found"}
	}
	return err
}
