package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// annotatedConfig is publish.yaml with every key and its default.
//
//go:embed publish.yaml
var annotatedConfig string

func (p *program) helpCommand() *command {
	return verb(&cli.Command{
		Name: "help", Category: "help", ArgsUsage: "[COMMAND|TOPIC]",
		Usage: "explain a command, or show a guide",
		Description: "publish help lists the commands and the topics of the guides. publish help config prints " +
			"publish.yaml with all its keys and their defaults. Where a command and a topic have the same name, " +
			"help explains the command and then shows the guide; of config it shows the guide alone, and " +
			"publish config --help has the commands.",
	}, 0, -1, func(c *cli.Context) error {
		app := p.app()
		var path []string
		commands := app.Commands
		_, isTopic := guide(c.Args().First())
		isTopic = isTopic && c.NArg() == 1
		if isTopic && (c.Args().First() == "config" || commandNamed(commands, c.Args().First()) == nil) {
			p.showGuide(c.Args().First())
			return nil
		}
		for _, name := range c.Args().Slice() {
			sub := commandNamed(commands, name)
			if sub == nil {
				return unknownTopic(app, commands, path, name)
			}
			path, commands = append(path, sub.Name), sub.Subcommands
		}
		p.help(app, path)
		if isTopic {
			fmt.Fprintln(p.out)
			p.showGuide(path[0])
		}
		return nil
	}).
		example("read about promote", "publish help promote").
		example("see every key of publish.yaml", "publish help config").
		completes(upTo(1, func() []string {
			return append(commandCandidates(p.app().Commands), topicCandidates()...)
		}))
}

// help explains the program, or the command at path.
func (p *program) help(app *cli.App, path []string) {
	name, commands := app.Name, app.Commands
	var c *cli.Command
	for _, part := range path {
		if c != nil {
			name += " " + c.Name
		}
		c = commandNamed(commands, part)
		commands = c.Subcommands
	}
	if c == nil {
		fmt.Fprintf(p.out, "usage: %s COMMAND [FLAGS] [ARGUMENTS]\n\n%s", name, wrap(app.Description))
		helpCommands(p.out, "", commands)
		fmt.Fprintf(p.out, "\nflags of every command, before or after its name:\n")
		printFlags(p.out, app.Flags)
		fmt.Fprintf(p.out, "\nexit status:\n")
		w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		for _, s := range exitStatus {
			fmt.Fprintf(w, "  %d\t%s\n", int(s.code), s.meaning)
		}
		_ = w.Flush()
		p.helpTopics()
		fmt.Fprintf(p.out, "\npublish help COMMAND explains a command, publish help TOPIC shows a guide.\n")
		return
	}
	fmt.Fprintf(p.out, "usage: %s\n\n%s\n", synopsis(name, c), sentence(c.Usage))
	if c.Description != "" {
		fmt.Fprintf(p.out, "\n%s", wrap(c.Description))
	}
	if len(commands) > 0 {
		helpCommands(p.out, c.Name+" ", commands)
	}
	if shown := at(p.commands(), path...); len(shown.examples) > 0 {
		fmt.Fprintf(p.out, "\nexamples:\n")
		for _, e := range shown.examples {
			fmt.Fprintf(p.out, "  # %s\n  %s\n", e.what, e.line)
		}
	}
	if len(c.Flags) > 0 {
		fmt.Fprintf(p.out, "\nflags:\n")
		printFlags(p.out, c.Flags)
	}
	fmt.Fprintf(p.out, "\nflags of every command:\n")
	printFlags(p.out, app.Flags)
}

// helpTopics lists the guides.
func (p *program) helpTopics() {
	fmt.Fprintf(p.out, "\ntopics:\n")
	w := tabwriter.NewWriter(p.out, 12, 0, 2, ' ', 0)
	for _, topic := range topics {
		fmt.Fprintf(w, "  %s\t%s\n", topic, titleOf(topic))
	}
	_ = w.Flush()
}

// helpCommands lists commands by category, in the order in which they come.
func helpCommands(to io.Writer, prefix string, commands []*cli.Command) {
	var categories []string
	for _, c := range commands {
		if !c.Hidden && !slices.Contains(categories, c.Category) {
			categories = append(categories, c.Category)
		}
	}
	for _, category := range categories {
		title := category
		if title == "" {
			title = "commands"
		}
		fmt.Fprintf(to, "\n%s:\n", title)
		w := tabwriter.NewWriter(to, 12, 0, 2, ' ', 0)
		for _, c := range commands {
			if c.Category != category || c.Hidden {
				continue
			}
			fmt.Fprintf(w, "  %s%s\t%s\n", prefix, c.Name, c.Usage)
			if prefix == "" {
				for _, sub := range c.Subcommands {
					fmt.Fprintf(w, "    %s\t  %s\n", sub.Name, sub.Usage)
				}
			}
		}
		_ = w.Flush()
	}
}

// synopsis is how a command is called.
func synopsis(parent string, c *cli.Command) string {
	parts := []string{parent, c.Name}
	if len(c.Subcommands) > 0 {
		parts = append(parts, "COMMAND")
	}
	for _, f := range c.Flags {
		s := specOf(f)
		parts = append(parts, "["+strings.TrimSpace(s.short()+" "+s.value)+"]"+s.more)
	}
	if c.ArgsUsage != "" {
		parts = append(parts, c.ArgsUsage)
	}
	return strings.Join(parts, " ")
}

// flagSpec is a flag as people see it.
type flagSpec struct {
	names []string // with their dashes, the short one first
	value string   // what stands for its value; "" when it takes none
	usage string
	more  string // "..." when it may be given again
}

func (s flagSpec) short() string { return s.names[0] }

// specOf reads a flag. The word in backquotes in its usage stands for its
// value.
func specOf(f cli.Flag) flagSpec {
	var s flagSpec
	for _, n := range f.Names() {
		if len(n) == 1 {
			s.names = append([]string{"-" + n}, s.names...)
		} else {
			s.names = append(s.names, "--"+n)
		}
	}
	if _, ok := f.(*cli.StringSliceFlag); ok {
		s.more = "..."
	}
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return s
	}
	s.usage = doc.GetUsage()
	if doc.TakesValue() {
		s.value = "VALUE"
		if parts := strings.SplitN(s.usage, "`", 3); len(parts) == 3 {
			s.value, s.usage = parts[1], strings.Join(parts, "")
		}
	}
	return s
}

func printFlags(w io.Writer, flags []cli.Flag) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range flags {
		s := specOf(f)
		fmt.Fprintf(t, "  %s\t%s\n", strings.TrimSpace(strings.Join(s.names, ", ")+" "+s.value), s.usage)
	}
	_ = t.Flush()
}

// wrap breaks paragraphs into lines for a terminal. Lines that begin with a
// space stay as they are.
func wrap(s string) string {
	const width = 78
	var b strings.Builder
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, " ") {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
			continue
		}
		column := 0
		for i, word := range strings.Fields(line) {
			switch {
			case i == 0:
			case column+1+len(word) > width:
				b.WriteByte('\n')
				column = 0
			default:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(word)
			column += len(word)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// sentence is text with a capital and a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}
