package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/fanout"
	"example.com/publish/publish/mirror"
	"example.com/publish/stage/lazyregexp"
	"example.com/publish/stage/lock"
)

// program is one run of the command line.
type program struct {
	stdout, stderr io.Writer
	now            func() time.Time // nil: the clock
	who            string           // "": the user
	ends           []os.Signal      // that ask any command to end

	// Flags that may stand anywhere.
	repo  string
	json  bool
	quiet bool
	wait  *time.Duration

	out      *bufio.Writer // of stdout
	warnings []string      // with --json they wait for the end
	progress progress
	memory   *heap // nil: it is as the runtime has it

	opened *publish.Repo // the repository that the command is about; nil before it is open
}

// run does what args ask for and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	p.out = bufio.NewWriter(p.stdout)
	p.progress.to = p.stderr
	app := p.app()
	line, err := arrange(app, args)
	var want *wantsHelp
	switch {
	case errors.As(err, &want):
		p.help(app, want.path)
		err = nil
	case err != nil:
		p.json = slices.Contains(args, "--json")
	default:
		err = app.RunContext(ctx, append([]string{app.Name}, line...))
	}
	if p.opened != nil {
		err = p.opened.Explain(err)
	}
	p.progress.end()
	if werr := p.flush(); err == nil {
		err = werr
	}
	return p.report(err)
}

// flush writes the answer out. A reader that went away has seen enough.
func (p *program) flush() error {
	if err := p.out.Flush(); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// commands are all verbs, in the order in which the help lists them.
func (p *program) commands() []*command {
	return []*command{
		p.initCommand(), p.configCommand(),
		p.stageCommand(), p.mirrorCommand(),
		p.validateCommand(), p.diffCommand(), p.pruneCommand(),
		p.promoteCommand(), p.revertCommand(), p.holdCommand(), p.unholdCommand(), p.revokeCommand(), p.signCommand(),
		p.syncCommand(), p.receiveCommand(), p.exportCommand(),
		p.pinCommand(), p.unpinCommand(),
		p.statusCommand(), p.listCommand(), p.resolveCommand(), p.showCommand(), p.historyCommand(), p.changelogCommand(),
		p.verifyCommand(), p.serveCommand(),
		p.gcCommand(), p.recoverCommand(),
		p.completionCommand(), p.completeCommand(), p.manCommand(), p.helpCommand(), p.versionCommand(),
	}
}

// app is the tree of commands.
func (p *program) app() *cli.App {
	app := &cli.App{
		Name:  "publish",
		Usage: "two stages for a tree of images, and an atomic step between them",
		Description: "Builds write to staging. promote validates what is staged and makes it production in one " +
			"atomic step; the tree before is kept for a grace window, and revert goes back to it.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "repo", Usage: "use the repository at `DIR`; default: PUBLISH_REPO, else the " +
				"repository that contains the working directory"},
			&cli.BoolFlag{Name: "json", Usage: "print the answer and errors as JSON"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"},
				Usage: "print no progress, notes or warnings, and nothing at all if there was nothing to do"},
			&cli.StringFlag{Name: "wait",
				Usage: "wait up to `DURATION`, such as 30s or 10m, for a lock that another command holds"},
			&cli.BoolFlag{Name: "version", Usage: "print the version"},
		},
		Before:                    p.globals,
		Action:                    p.bare,
		OnUsageError:              badUsage,
		HideHelp:                  true, // arrange finds -h and --help
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a comma belongs to the value
		ExitErrHandler:            func(*cli.Context, error) {},
		Writer:                    p.out,
		ErrWriter:                 p.stderr,
	}
	for _, c := range p.commands() {
		app.Commands = append(app.Commands, c.settled())
	}
	return app
}

// flagValue matches what the flag library says of a value that is no number, no duration
// or no yes or no.
var flagValue = lazyregexp.New(`^invalid (?:(boolean) )?value ("(?s:.*)") for (?:flag )?-{1,2}([a-z-]+): `)

func badUsage(c *cli.Context, err error, _ bool) error {
	found := flagValue.FindStringSubmatch(err.Error())
	if found == nil {
		return usage("", "%s", err)
	}
	what := "a number"
	if found[1] != "" {
		what = "true or false"
	}
	return usage("publish help "+strings.TrimPrefix(c.Command.HelpName, "publish ")+" shows its flags",
		"--%s: %s is not %s", found[3], found[2], what)
}

// globals takes the flags that every command has.
func (p *program) globals(c *cli.Context) error {
	p.json, p.quiet = c.Bool("json"), c.Bool("quiet")
	if c.IsSet("repo") {
		if p.repo = c.String("repo"); p.repo == "" {
			return usage("", "--repo: is empty")
		}
	}
	if c.IsSet("wait") {
		d, err := publish.ParseDuration(c.String("wait"))
		if err != nil {
			return usage("", "--wait: %s", err)
		}
		p.wait = (*time.Duration)(&d)
	}
	return nil
}

// bare is publish without a command.
func (p *program) bare(c *cli.Context) error {
	if c.Bool("version") {
		return p.printVersion()
	}
	if !p.json {
		_ = p.out.Flush()
		fmt.Fprintf(p.stderr, "usage: publish COMMAND [FLAGS] [ARGUMENTS]\n")
		helpCommands(p.stderr, "", c.App.Commands)
		fmt.Fprintln(p.stderr)
	}
	return usage("publish help COMMAND explains a command", "no command was given")
}

func usage(hint, format string, args ...any) error {
	return &publish.Error{Kind: publish.Usage, Fact: fmt.Sprintf(format, args...), Hint: hint}
}

// find returns the directory of the repository that is meant.
func (p *program) find() (string, error) {
	if p.repo != "" {
		return p.repo, nil
	}
	if dir := os.Getenv("PUBLISH_REPO"); dir != "" {
		return dir, nil
	}
	return publish.Find(".")
}

// open opens the repository that is meant.
func (p *program) open() (*publish.Repo, error) {
	dir, err := p.find()
	if err != nil {
		return nil, err
	}
	r, err := p.openAt(dir)
	if e := new(publish.Error); p.repo == "" && os.Getenv("PUBLISH_REPO") != "" && errors.As(err, &e) &&
		e.Kind == publish.Usage && e.Path != "" {
		p.note("note: PUBLISH_REPO names the repository %s", dir)
	}
	return r, err
}

func (p *program) openAt(dir string) (*publish.Repo, error) {
	// Before the configuration: a newer layout may bring keys that this
	// version does not know.
	if err := publish.CheckLayout(dir); err != nil {
		return nil, err
	}
	c, err := publish.LoadConfig(dir, choices())
	if err != nil {
		return nil, err
	}
	f, err := configured(c)
	if err != nil {
		return nil, err
	}
	p.memory.use(thriftOf(c.Format))
	p.opened, err = publish.Open(dir, c, f, siteKinds(), p.options())
	return p.opened, err
}

func (p *program) options() publish.Options {
	opt := publish.Options{Now: p.now, Who: p.who, Wait: p.wait, Warn: p.warn, Waiting: p.waiting,
		HookOutput: p.hookOutput, Store: openStore, Mirror: mirror.StateOf(p.clock), Targets: fanout.StateOf}
	if !p.json && !p.quiet && p.progress.possible() {
		opt.Progress = p.progress.step
	}
	return opt
}

// warn prints what does not stop the command.
func (p *program) warn(text string) {
	if p.json {
		p.warnings = append(p.warnings, text)
	} else {
		p.note("warning: %s", text)
	}
}

// warnConfig prints what is unwise in publish.yaml.
func (p *program) warnConfig(r *publish.Repo) {
	for _, w := range r.Config.Warnings(choices()) {
		p.warn(publish.ConfigName + ": " + w)
	}
}

// note prints something for people beside the answer.
func (p *program) note(format string, args ...any) {
	if p.json || p.quiet {
		return
	}
	p.progress.end()
	_ = p.out.Flush() // in order, where both are one terminal
	fmt.Fprintln(p.stderr, printable(fmt.Sprintf(format, args...)))
}

func (p *program) waiting(h lock.Holder) {
	began := ""
	if h.PID != 0 && isTerminal(p.stderr) {
		began = ", which began " + publish.Distance(p.clock(), h.Since)
	}
	p.note("waiting for %s%s", h, began)
}
