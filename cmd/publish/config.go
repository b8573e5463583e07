package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

func (p *program) configCommand() *command {
	return &command{subs: []*command{p.configCheckCommand()}, Command: &cli.Command{
		Name: "config", Category: "set up",
		Usage:  "check publish.yaml",
		Action: p.whichCommand,
	}}
}

func (p *program) configCheckCommand() *command {
	return verb(&cli.Command{
		Name:  "check",
		Usage: "report what is wrong with publish.yaml, or the values that differ from the defaults",
		Description: "Reads publish.yaml of the repository and prints each fault with its line; exits with status 2 " +
			"if there is an error. Else it prints ok, and the keys whose values differ from the defaults. Takes no " +
			"lock and runs no hook.",
	}, 0, 0, p.configCheck).
		example("see what is wrong with publish.yaml after an edit", "publish config check")
}

func (p *program) configCheck(*cli.Context) error {
	dir, err := p.find()
	if err != nil {
		return err
	}
	if err := publish.CheckLayout(dir); err != nil {
		return err
	}
	r, err := publish.CheckConfig(dir, choices())
	if err != nil {
		return err
	}
	bad := 0
	err = p.answer(r, func() {
		for _, f := range r.Findings {
			at := publish.ConfigName
			if f.Line > 0 {
				at = fmt.Sprintf("%s:%d", at, f.Line)
			}
			p.say("%s: %s: %s", f.Severity, at, oneLine(f.Message))
		}
		if !r.OK {
			return
		}
		p.idle("%s: ok", r.Path)
		for _, v := range r.Values {
			p.idle("%s", oneLine(v.String()))
		}
		if len(r.Values) == 0 {
			p.idle("every key has its default")
		}
	})
	for _, f := range r.Findings {
		if f.Severity == catalog.Error {
			bad++
		}
	}
	if err == nil && bad > 0 {
		err = &publish.Error{Kind: publish.Usage, Path: r.Path, Fact: count(bad, "error") + " found",
			Hint: "publish help config prints every key with its default"}
	}
	return err
}
