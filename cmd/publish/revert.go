package main

import (
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) revertCommand() *command {
	return verb(&cli.Command{
		Name: "revert", Category: "production", ArgsUsage: "[GENERATION]",
		Usage: "go back to the content of an earlier generation",
		Description: "Makes the content of a kept generation production again, as a new generation, in one atomic " +
			"step; default: the content that was live before the current one, so that twice goes back twice. It does " +
			"not wait for a promote that is still at work. promote then refuses what was reverted until it is out of " +
			"staging, or --force is given.",
		Flags: []cli.Flag{
			dryRunFlag(), messageFlag(),
			&cli.BoolFlag{Name: "force", Usage: "revert even if clients know a path with other content"},
			noSyncFlag(),
		},
	}, 0, 1, p.revert).
		example("go back to the content before", "publish revert -m 'does not boot'").
		example("go back to the content of generation 1", "publish revert 1").
		completes(upTo(1, p.generations))
}

func (p *program) revert(c *cli.Context) error {
	if c.NArg() > 0 && c.Args().First() == "" { // a script whose variable is not set
		return switching(usage("leave it out to go back to the content before", "GENERATION is empty"))
	}
	to, err := generation(c.Args().First())
	if err != nil {
		return switching(err)
	}
	r, err := p.open()
	if err != nil {
		return switching(err)
	}
	res, err := r.Revert(c.Context, publish.RevertOptions{To: to, DryRun: c.Bool("dry-run"),
		Message: c.String("message"), Force: c.Bool("force")})
	if codeOf(err) == exitFindings {
		err = &hinted{err, "wait until the paths are free, or give --force: clients that know them otherwise will fail"}
	}
	return p.switched(c, r, res, err, "production has that content already")
}

// generation reads a generation's number; 0 where none is given.
func generation(arg string) (int, error) {
	if arg == "" {
		return 0, nil
	}
	n, ok := publish.GenerationNumber(arg)
	if !ok {
		return 0, usage("publish status lists those that are kept", "%q: is not a generation's number", arg)
	}
	return n, nil
}
