package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// wantsHelp is the error for -h and --help.
type wantsHelp struct{ path []string }

func (*wantsHelp) Error() string { return "help was asked for" }

// arrange puts the arguments in the only order that cli v2 understands: it
// stops looking for flags at the first argument. Flags of the program come
// first, then the command, its flags, "--", and its arguments. A flag of the
// program may stand anywhere, one of a command anywhere behind the command's
// name. Nothing behind "--" is a flag.
func arrange(app *cli.App, args []string) ([]string, error) {
	var global, path, own, rest []string
	var flags []cli.Flag
	commands := app.Commands
	help := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case len(arg) > 1 && arg[0] == '-':
			name, _, whole := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
			if name == "h" || name == "help" {
				help = true
				continue
			}
			into := &own
			f := flagNamed(flags, name)
			if f == nil {
				into, f = &global, flagNamed(app.Flags, name)
			}
			if f == nil {
				return nil, unknownFlag(app, flags, path, arg)
			}
			*into = append(*into, arg)
			if takesValue(f) && !whole {
				if i++; i == len(args) {
					return nil, usage("", "%s: needs a value", arg)
				}
				*into = append(*into, args[i])
			}
		case len(commands) > 0:
			c := commandNamed(commands, arg)
			if c == nil {
				return nil, unknownCommand(app, commands, path, arg)
			}
			path = append(path, c.Name)
			flags, commands = c.Flags, c.Subcommands
		default:
			rest = append(rest, arg)
		}
	}
	if help {
		return nil, &wantsHelp{path}
	}
	line := slices.Concat(global, path, own)
	if len(commands) == 0 {
		return slices.Concat(line, []string{"--"}, rest), nil
	}
	if len(rest) > 0 {
		return nil, unknownCommand(app, commands, path, rest[0])
	}
	return line, nil
}

func flagNamed(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func commandNamed(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func unknownFlag(app *cli.App, flags []cli.Flag, path []string, arg string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if len(path) == 0 {
		for _, c := range app.Commands {
			if flagNamed(c.Flags, name) != nil {
				return usage("flags of a command stand after its name", "%s: is not a flag of publish itself", arg)
			}
		}
	}
	names := []string{"help"}
	for _, f := range slices.Concat(flags, app.Flags) {
		names = append(names, f.Names()[0])
	}
	called := strings.Join(append([]string{"publish"}, path...), " ")
	hint := strings.Join(append([]string{"publish help"}, path...), " ") +
		" lists the flags; an argument that begins with - must stand after --"
	if near := nearest(name, names); near != "" {
		hint = "did you mean --" + near + "?"
	}
	return usage(hint, "%s: is not a flag of %s", arg, called)
}

// otherWords maps other tools' names of commands to ours.
var otherWords = map[string]string{
	"rollback": "revert", "undo": "revert", "back": "revert", "release": "promote", "deploy": "promote",
	"switch": "promote",
	"log":    "history", "check": "validate", "lint": "validate", "reset": "stage reset", "rm": "stage remove",
	"delete": "stage remove",
	"info":   "status", "freeze": "hold", "cleanup": "gc", "clean": "gc", "man-page": "man", "create": "init",
	"new": "init",
}

// unknownTopic is the error of help for a word that is neither a command nor a topic.
func unknownTopic(app *cli.App, commands []*cli.Command, path []string, name string) error {
	names := slices.Clone(topics)
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	if near := nearest(name, names); len(path) == 0 && slices.Contains(topics, near) {
		return usage("did you mean publish help "+near+"?", "%q: is neither a command nor a topic", name)
	}
	return unknownCommand(app, commands, path, name)
}

func unknownCommand(app *cli.App, commands []*cli.Command, path []string, name string) error {
	called := strings.Join(append([]string{"publish"}, path...), " ")
	hint := "publish help lists the commands"
	if len(path) > 0 {
		hint = called + " --help lists the commands"
	}
	if near := meant(app, commands, path, name); near != "" {
		hint = "did you mean publish " + near + "?"
	}
	return usage(hint, "%q: is not a command of %s", name, called)
}

// meant returns the command that name may mean: one of commands, which are
// below path, or one of another level; "" for none.
func meant(app *cli.App, commands []*cli.Command, path []string, name string) string {
	whole := map[string]string{}
	var names []string
	add := func(list []*cli.Command, path ...string) {
		for _, c := range list {
			if whole[c.Name] == "" && !c.Hidden {
				whole[c.Name] = strings.Join(append(path, c.Name), " ")
				names = append(names, c.Name)
			}
		}
	}
	add(commands, slices.Clone(path)...)
	add(app.Commands)
	for _, c := range app.Commands {
		add(c.Subcommands, c.Name)
	}
	if word, ok := otherWords[name]; ok {
		return word
	}
	return whole[nearest(name, names)]
}

// nearest returns the candidate that a mistyped name may mean; "" when none is
// near.
func nearest(name string, names []string) (near string) {
	best := 0.8
	for _, n := range names {
		if d := smetrics.JaroWinkler(name, n, 0.7, 4); d > best {
			near, best = n, d
		}
	}
	return near
}
