package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// command is a verb, with all that help, the manual page and completion say about
// it. Each has a file of its own, and an entry in p.commands.
type command struct {
	*cli.Command
	subs     []*command
	examples []example
	more     string                     // what the page of all commands says beside the usage
	words    func(n int) []string       // candidates for argument n, from 0; nil: none
	values   map[string]func() []string // candidates for the values of its flags
}

// example is a line that a person can try, and what it is for. A transcript
// takes them from the help and runs them.
type example struct{ what, line string }

// verb makes a command that takes from min to max arguments (-1: any number).
func verb(c *cli.Command, min, max int, do func(*cli.Context) error) *command {
	c.Action = func(ctx *cli.Context) error {
		name := ctx.Command.HelpName // with that of its parent
		hint := "usage: " + synopsis(strings.TrimSuffix(name, " "+c.Name), c)
		switch n := ctx.NArg(); {
		case n < min:
			return usage(hint, "%s: too few arguments", name)
		case max >= 0 && n > max:
			return usage(hint, "%s: %q is one argument too many", name, ctx.Args().Get(max))
		}
		return do(ctx)
	}
	return &command{Command: c}
}

// example adds a line to the help. Each command has one or two.
func (c *command) example(what, line string) *command {
	c.examples = append(c.examples, example{what, line})
	return c
}

// note adds to what the page of all commands says, in Markdown.
func (c *command) note(text string) *command {
	c.more = text
	return c
}

// completes says what argument n may be, from 0. A candidate is a word, or a
// word, a tab and a description; :files and :dirs let the shell complete
// files and directories.
func (c *command) completes(words func(n int) []string) *command {
	c.words = words
	return c
}

// completesFlag says what the value of a flag may be.
func (c *command) completesFlag(name string, values func() []string) *command {
	if c.values == nil {
		c.values = map[string]func() []string{}
	}
	c.values[name] = values
	return c
}

// every gives the same candidates to every argument.
func every(words func() []string) func(int) []string {
	return func(int) []string { return words() }
}

// upTo gives the same candidates to the first max arguments.
func upTo(max int, words func() []string) func(int) []string {
	return func(n int) []string {
		if n >= max {
			return nil
		}
		return words()
	}
}

// these are always the same candidates.
func these(words ...string) func() []string { return func() []string { return words } }

// settled is the command in the form that the command line's library takes.
func (c *command) settled() *cli.Command {
	c.HideHelp, c.OnUsageError = true, badUsage
	for _, sub := range c.subs {
		c.Subcommands = append(c.Subcommands, sub.settled())
	}
	return c.Command
}

// at is the command at a path of names; nil where there is none.
func at(commands []*command, path ...string) *command {
	for _, c := range commands {
		switch {
		case len(path) == 0 || !c.HasName(path[0]):
		case len(path) == 1:
			return c
		default:
			return at(c.subs, path[1:]...)
		}
	}
	return nil
}
