package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (p *program) stageCommand() *command {
	subs := []*command{p.stageAddCommand(), p.stageImportCommand(), p.stageListCommand(),
		p.stageTagCommand(), p.stageRemoveCommand(), p.stageResetCommand()}
	return &command{subs: subs, Command: &cli.Command{
		Name: "stage", Category: "staging",
		Usage:  "put images into staging, list them, take them out",
		Action: p.whichCommand,
	}}
}

// whichCommand answers a command that is nothing without one of its own.
func (p *program) whichCommand(c *cli.Context) error {
	if !p.json {
		_ = p.out.Flush()
		helpCommands(p.stderr, c.Command.Name+" ", c.Command.Subcommands)
		fmt.Fprintln(p.stderr)
	}
	return usage("publish "+c.Command.Name+" --help lists them", "publish %s: which command?", c.Command.Name)
}
