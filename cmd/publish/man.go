package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) manCommand() *command {
	return verb(&cli.Command{
		Name: "man", Category: "help", ArgsUsage: "[TOPIC]",
		Usage: "print the manual page, or a guide as one",
		Description: "publish man | man -l - shows it; publish man > publish.1 makes it a file. " +
			"publish man operating > publish-operating.7 does the same with a guide; publish help lists the topics.",
	}, 0, 1, func(c *cli.Context) error {
		text := p.manual()
		if c.NArg() == 1 {
			topic := c.Args().First()
			if _, ok := guide(topic); !ok {
				hint := "publish help lists the topics"
				if near := nearest(topic, topics); near != "" {
					hint = "did you mean publish man " + near + "?"
				} else if commandNamed(p.app().Commands, topic) != nil {
					hint = "publish man has every command, and publish help " + topic + " explains this one"
				}
				return usage(hint, "%q: is not a topic", topic)
			}
			text = guideManual(topic)
		}
		_, err := p.out.WriteString(text)
		return err
	}).
		example("write the manual page to a file", "publish man > publish.1").
		completes(upTo(1, topicCandidates))
}

// roff writes a page in the macros of man(7).
type roff struct{ strings.Builder }

// escape makes text that roff takes literally.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func (r *roff) section(title string) { fmt.Fprintf(r, ".SH %s\n", escape(title)) }

// text writes paragraphs. Lines that belong to a list or an example stay lines.
func (r *roff) text(s string) {
	for i, para := range strings.Split(s, "\n\n") {
		if i > 0 {
			r.WriteString(".PP\n")
		}
		for j, line := range strings.Split(para, "\n") {
			if strings.HasPrefix(line, " ") && j > 0 {
				r.WriteString(".br\n")
			}
			if strings.HasPrefix(line, " ") {
				fmt.Fprintf(r, "%s\n", escape(strings.TrimSpace(line)))
				continue
			}
			fmt.Fprintf(r, "%s\n", escape(line))
		}
	}
}

// item is a tagged paragraph.
func (r *roff) item(tag, text string) {
	fmt.Fprintf(r, ".TP\n\\fB%s\\fR\n", escape(tag))
	r.text(text)
}

func (r *roff) flags(flags []cli.Flag) {
	for _, f := range flags {
		s := specOf(f)
		var names []string
		for _, n := range s.names {
			names = append(names, `\fB`+escape(n)+`\fR`)
		}
		tag := strings.Join(names, ", ")
		if s.value != "" {
			tag += ` \fI` + escape(s.value) + `\fR`
		}
		fmt.Fprintf(r, ".TP\n%s\n%s\n", tag, escape(sentence(s.usage)))
	}
}

func (r *roff) example(comment string, lines ...string) {
	fmt.Fprintf(r, ".PP\n%s\n.PP\n.RS 4\n.nf\n", escape(comment))
	for _, l := range lines {
		fmt.Fprintf(r, "%s\n", escape(l))
	}
	r.WriteString(".fi\n.RE\n")
}

func (r *roff) command(parent string, c *command) {
	if c.Hidden {
		return
	}
	if len(c.subs) == 0 {
		fmt.Fprintf(r, ".SS %s\n.B %s\n.PP\n", escape(parent+" "+c.Name), escape(synopsis(parent, c.Command)))
		r.text(sentence(c.Usage))
		if c.Description != "" {
			r.WriteString(".PP\n")
			r.text(c.Description)
		}
		r.flags(c.Flags)
		for _, e := range c.examples {
			r.example(sentence(e.what), e.line)
		}
		return
	}
	for _, sub := range c.subs {
		r.command(parent+" "+c.Name, sub)
	}
}

// manual is publish(1), made from the commands.
func (p *program) manual() string {
	app, r := p.app(), &roff{}
	fmt.Fprintf(r, ".TH PUBLISH 1 \"\" \"publish %s\" \"User Commands\"\n", escape(programVersion()))
	r.section("NAME")
	fmt.Fprintf(r, "%s \\- %s\n", app.Name, escape(app.Usage))
	r.section("SYNOPSIS")
	r.WriteString(".B publish\n.I COMMAND\n[\\fIFLAGS\\fR] [\\fIARGUMENTS\\fR]\n")
	r.section("DESCRIPTION")
	r.text(manDescription)
	r.section("GLOBAL FLAGS")
	r.text("They may stand before or after the command and its arguments. Nothing after -- is a flag.")
	r.flags(app.Flags)
	r.section("COMMANDS")
	for _, c := range p.commands() {
		r.command(app.Name, c)
	}
	r.section("OUTPUT")
	r.text(manOutput)
	r.section("EXIT STATUS")
	for _, s := range exitStatus {
		r.item(fmt.Sprint(int(s.code)), sentence(s.meaning))
	}
	r.section("ENVIRONMENT")
	r.item("PUBLISH_REPO", "The repository, where --repo is not given.")
	r.item("PUBLISH_EVENT, PUBLISH_GENERATION, PUBLISH_FROM, PUBLISH_ORIGIN, PUBLISH_KIND, PUBLISH_PRODUCTION",
		"Set for hooks and health checks, which get the same, and more, as a JSON object on standard input. "+
			"They may call\nstatus, history, verify and diff; what takes a lock is refused there.")
	r.section("FILES")
	for _, f := range manFiles {
		r.item(f[0], f[1])
	}
	r.section("CONFIGURATION")
	r.text("This is publish.yaml with every key and its default; publish help config prints it.")
	r.WriteString(".PP\n.nf\n")
	for line := range strings.Lines(annotatedConfig) {
		fmt.Fprintf(r, "%s\n", escape(strings.TrimSuffix(line, "\n")))
	}
	r.WriteString(".fi\n")
	r.section("EXAMPLES")
	r.text("A first promote, a way back, and the way in for a tree that is served already.")
	r.example("Stage an image as distrobuilder leaves it, look, and make it production:",
		"publish init /srv/images", "export PUBLISH_REPO=/srv/images", "publish stage add ./build", "publish diff",
		"publish promote -m 'weekly build'")
	r.example("Go back:", "publish revert -m 'does not boot'")
	r.example("Take over a tree that a web server serves already:", "publish init --adopt /var/www/images /srv/images")
	r.section("SEE ALSO")
	for _, topic := range topics {
		fmt.Fprintf(r, ".BR publish\\-%s (7),\n", escape(topic))
	}
	r.WriteString(".BR incus (1),\n.BR lxc (1)\n")
	return r.String()
}

const manDescription = `publish gives a tree of images, such as a simplestreams server of Incus or LXD, two stages.
Builds write to staging. promote validates what is staged and makes it production in one atomic step: a
client sees the old tree or the new one, never a mixture, and every file that it learned of stays
for the grace window. revert goes back to the previous content.

Each complete tree is a generation, with a number that only rises. A revert is a new generation with the content of
an old one. The history records every switch. If a command is killed, or the power fails, production is the old tree
or the new one; the next command finishes the rest.`

const manOutput = `Standard output carries the answer. Standard error carries progress (on a terminal), notes, warnings
and errors. An error says what went wrong; a hint on a line of its own says what to do.

With --json the answer is one object on standard output; history, list and stage list write one a line. An error is
one object on standard error, with code, message, hint, findings and warnings. Times are RFC 3339 in UTC, lists are
never null, and fields are only ever added.`

var manFiles = [][2]string{
	{"REPO/publish.yaml", "The configuration."},
	{"REPO/staging/", "What builds write to."},
	{"REPO/production", "What the web server serves: a link to a generation, or a directory (switch: rename)."},
	{"REPO/generations/", "The trees, production's among them or beside them."},
	{"REPO/.publish/history", "One line for each event, sealed with a checksum."},
	{"REPO/.publish/manifests/", "What each generation holds, file by file."},
	{"REPO/.publish/trash/", "What stage reset and stage remove took away, for one grace window."},
}
