package main

import "github.com/urfave/cli/v2"

func (p *program) stageCommand() *cli.Command {
	return &cli.Command{
		Name: "stage", Category: "staging",
		Usage:       "put images into staging, list them, take them out",
		Subcommands: []*cli.Command{p.stageAddCommand(), p.stageImportCommand(), p.stageListCommand(), p.stageRemoveCommand(), p.stageResetCommand()},
		Action: func(*cli.Context) error {
			return usage("publish help stage lists them", "publish stage: which command?")
		},
	}
}
