package main

import (
	"runtime"

	"github.com/urfave/cli/v2"
)

func (p *program) versionCommand() *command {
	return verb(&cli.Command{Name: "version", Category: "help", Usage: "print the version"}, 0, 0,
		func(*cli.Context) error { return p.printVersion() }).
		example("print the version for a script", "publish version --json")
}

func (p *program) printVersion() error {
	v := programVersion()
	return p.answer(map[string]string{"version": v, "go": runtime.Version(), "platform": runtime.GOOS + "/" +
		runtime.GOARCH},
		func() { p.say("publish %s", v) })
}
