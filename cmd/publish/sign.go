package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) signCommand() *command {
	return verb(&cli.Command{
		Name: "sign", Category: "production",
		Usage: "sign production anew, such as with another key",
		Description: "Makes a new generation with the content that production has, and with new signatures, as sign in " +
			"publish.yaml says; a revert passes over it. promote, revert and revoke sign by themselves: this is for a " +
			"key that is replaced, for signatures that end, and for one that a revert had to do without. With --due it " +
			"does nothing before half of valid_for is over, so that a timer can run it.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "due", Usage: "only if half of valid_for is over, or production has no signed list"},
			dryRunFlag(), messageFlag(), noSyncFlag(),
		},
	}, 0, 0, p.sign).
		example("sign with the keys that publish.yaml has now", "publish sign -m 'new key'")
}

func (p *program) sign(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return switching(err)
	}
	p.warnConfig(r)
	res, err := r.Sign(c.Context, publish.SignOptions{Due: c.Bool("due"), DryRun: c.Bool("dry-run"),
		Message: c.String("message")})
	return p.switched(c, r, res, err, "the signatures of production are good for longer")
}
