package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) showCommand() *command {
	return verb(&cli.Command{
		Name: "show", Category: "look", ArgsUsage: "[GENERATION|production]",
		Usage: "describe a generation",
		Description: "Prints who made a generation, when and why, what the switch to it changed, what it holds and " +
			"carries, and until when it is kept. Default: production. publish list prints its images. Takes no lock " +
			"and writes nothing.",
	}, 0, 1, p.show).
		note("takes no lock").
		example("see who made generation 1, why, and until when it is kept", "publish show 1").
		completes(upTo(1, p.trees("production")))
}

func (p *program) show(c *cli.Context) error {
	r, err := p.open()
	if err != nil {
		return err
	}
	s, err := r.Show(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	return p.answer(s, func() { p.table(p.showRows(s)) })
}

func (p *program) showRows(s *publish.Shown) [][]string {
	var rows [][]string
	row := func(name, format string, args ...any) {
		rows = append(rows, []string{name, oneLine(fmt.Sprintf(format, args...))})
	}
	text := fmt.Sprint(s.Generation)
	if s.Live {
		text += ", production"
	}
	row("generation", "%s", text)
	if s.Origin != s.Generation {
		row("origin", "%d: it has the content of that generation", s.Origin)
	} else {
		row("origin", "%d: its own content", s.Origin)
	}
	if s.From == 0 {
		row("from", "none: it is the first")
	} else {
		row("from", "%d", s.From)
	}
	row("kind", "%s", s.Kind)
	row("who", "%s", s.Who)
	row("time", "%s", p.when(s.Time))
	if s.Message != "" {
		row("message", "%s", strings.TrimSpace(s.Message))
	}
	if s.Health != "" {
		row("health", "%s", s.Health)
	}
	row("changes", "%s", changes(len(s.Added), len(s.Removed), len(s.Changed)))
	for _, side := range []struct {
		sign  string
		names []string
	}{{"+", s.Added}, {"-", s.Removed}, {"~", s.Changed}} {
		for _, name := range side.names {
			row("", "%s %s", side.sign, name)
		}
	}
	row("own", "%s, %s", count(s.Files, "file"), size(s.Bytes))
	row("carried", "%s", p.carried(s.Carried))
	if s.Live {
		row("kept", "it is production")
	} else if s.Until != nil {
		row("kept", "until %s", p.when(*s.Until))
	} else if s.KeptBy == publish.KeptByKeep {
		row("kept", "by publish.yaml: generations.keep")
	}
	if s.Pin != nil {
		row("pinned", "by %s since %s%s", s.Pin.Who, p.when(s.Pin.Since), said(s.Pin.Why))
	}
	for i, c := range s.Revoked {
		name := ""
		if i == 0 {
			name = "revoked"
		}
		row(name, "%s, sha256 %s", c, c.SHA256[:min(12, len(c.SHA256))])
	}
	if n := len(s.Redacted); n > 0 {
		row("redacted", "%s of it were revoked later; publish history --kind revoke reports why", count(n, "file"))
	}
	row("tree id", "%s", s.TreeID)
	return rows
}
