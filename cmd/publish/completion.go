package main

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts ask the program itself, which knows its commands and the
// repository; see complete.
var (
	//go:embed shell/publish.bash
	bashCompletion string
	//go:embed shell/publish.zsh
	zshCompletion string
	//go:embed shell/publish.fish
	fishCompletion string
)

func (p *program) completionCommand() *command {
	scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
	return verb(&cli.Command{
		Name: "completion", Category: "help", ArgsUsage: "bash|zsh|fish",
		Usage: "print the script that completes commands in a shell",
		Description: "  bash: source <(publish completion bash)\n" +
			"  zsh:  source <(publish completion zsh)\n" +
			"  fish: publish completion fish | source",
	}, 1, 1, func(c *cli.Context) error {
		script, ok := scripts[c.Args().First()]
		if !ok {
			return usage("publish completion bash, zsh or fish", "%q: is not a shell that publish knows",
				c.Args().First())
		}
		_, err := p.out.WriteString(script)
		return err
	}).
		example("complete commands in this bash", "eval \"$(publish completion bash)\"").
		example("complete commands in every fish", "publish completion fish > publish.fish").
		completes(every(these("bash", "zsh", "fish")))
}

// completeCommand answers the completion scripts: a candidate a line, with a
// tab and a description behind it, or :files or :dirs where the shell
// completes. Its arguments are the words behind the program's name, the last one
// as far as it is typed.
func (p *program) completeCommand() *command {
	return &command{Command: &cli.Command{Name: "__complete", Hidden: true, Action: func(c *cli.Context) error {
		words := c.Args().Slice()
		if len(words) == 0 {
			words = []string{""}
		}
		last := words[len(words)-1]
		told := map[string]bool{}
		for _, candidate := range p.complete(words) {
			value, description, _ := strings.Cut(candidate, "\t")
			if told[value] {
				continue
			}
			told[value] = true
			if strings.HasPrefix(value, ":") || strings.HasPrefix(value, last) {
				fmt.Fprintln(p.out, strings.TrimSuffix(oneLine(value)+"\t"+oneLine(description), "\t"))
			}
		}
		return nil
	}}}
}

// typed is what the words before the last one mean.
type typed struct {
	path     []string
	flags    []cli.Flag
	commands []*cli.Command
	args     int
	pending  string // the flag whose value comes next
	onlyArgs bool   // behind --
}

func (p *program) complete(words []string) []string {
	app := p.app()
	t := typed{commands: app.Commands}
	for _, w := range words[:len(words)-1] {
		t.take(app, w, func(repo string) { p.repo = repo })
	}
	last := words[len(words)-1]
	switch {
	case t.pending != "":
		return p.valuesOf(t.path, t.pending)
	case !t.onlyArgs && strings.HasPrefix(last, "-"):
		if name, _, ok := strings.Cut(strings.TrimLeft(last, "-"), "="); ok {
			var out []string
			for _, v := range p.valuesOf(t.path, name) {
				if !strings.HasPrefix(v, ":") {
					v = last[:strings.Index(last, "=")+1] + v
				}
				out = append(out, v)
			}
			return out
		}
		return flagCandidates(slices.Concat(t.flags, app.Flags))
	case len(t.commands) > 0:
		return commandCandidates(t.commands)
	}
	if c := at(p.commands(), t.path...); c != nil && c.words != nil {
		return c.words(t.args)
	}
	return nil
}

func (t *typed) take(app *cli.App, word string, repo func(string)) {
	switch {
	case t.pending != "":
		if t.pending == "repo" {
			repo(word)
		}
		t.pending = ""
	case t.onlyArgs:
		t.args++
	case word == "--":
		t.onlyArgs = true
	case len(word) > 1 && word[0] == '-':
		name, value, whole := strings.Cut(strings.TrimLeft(word, "-"), "=")
		f := flagNamed(t.flags, name)
		if f == nil {
			f = flagNamed(app.Flags, name)
		}
		switch {
		case f == nil || !takesValue(f):
		case !whole:
			t.pending = f.Names()[0]
		case f.Names()[0] == "repo":
			repo(value)
		}
	case len(t.commands) > 0:
		if c := commandNamed(t.commands, word); c != nil {
			t.path = append(t.path, c.Name)
			t.flags, t.commands = c.Flags, c.Subcommands
		} else {
			t.commands = nil
		}
	default:
		t.args++
	}
}

// valuesOf are the candidates for the value of a flag of the command at path.
func (p *program) valuesOf(path []string, flag string) []string {
	if flag == "repo" {
		return []string{":dirs"}
	}
	if c := at(p.commands(), path...); c != nil && c.values[flag] != nil {
		return c.values[flag]()
	}
	return nil
}

func flagCandidates(flags []cli.Flag) []string {
	var out []string
	for _, f := range flags {
		s := specOf(f)
		out = append(out, "--"+f.Names()[0]+"\t"+s.usage)
	}
	return append(out, "--help\thelp for the command")
}

func commandCandidates(commands []*cli.Command) []string {
	var out []string
	for _, c := range commands {
		if !c.Hidden {
			out = append(out, c.Name+"\t"+c.Usage)
		}
	}
	return out
}

// trees are these names and the kept generations.
func (p *program) trees(names ...string) func() []string {
	return func() []string { return append(names, p.generations()...) }
}

// generations are the kept ones, newest first; none where there is no
// repository: a completion never fails.
func (p *program) generations() []string {
	r, err := p.open()
	if err != nil {
		return nil
	}
	kept, err := r.Generations()
	if err != nil {
		return nil
	}
	made, _ := r.Made(kept) // without a history, numbers alone
	var out []string
	for _, n := range slices.Backward(kept) {
		text := fmt.Sprint(n)
		if m, ok := made[n]; ok {
			text += "\t" + string(m.Kind) + " of " + moment(m.Time) + said(m.Message)
		}
		out = append(out, text)
	}
	return out
}

// served are the images of production, as people call them.
func (p *program) served() []string {
	r, err := p.open()
	if err != nil {
		return nil
	}
	images, err := r.List(context.Background(), "production")
	if err != nil {
		return nil
	}
	var out []string
	for _, i := range images {
		out = append(out, i.Called())
	}
	return out
}

func (p *program) staged() []string {
	r, err := p.open()
	if err != nil {
		return nil
	}
	catalog, err := r.Stage.Catalog(context.Background())
	if err != nil {
		return nil
	}
	var out []string
	for _, i := range catalog.Images {
		out = append(out, i.Product+"\tall its versions")
		if i.Version != "" {
			out = append(out, i.Called())
		}
	}
	slices.Sort(out)
	return out
}
