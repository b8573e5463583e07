package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
	"example.com/publish/publish/fanout"
)

func (p *program) receiveCommand() *command {
	return verb(&cli.Command{
		Name: "receive", Category: "production", ArgsUsage: "DIR",
		Usage: "be the other end of publish sync, which starts this by ssh",
		Description: "Makes the repository DIR serve the generation of the repository that leads. What that says comes " +
			"on standard input; the answers go to standard output, for publish sync. DIR is made if it is not there. " +
			"A key of ssh can be bound to it, in authorized_keys: restrict,command=\"publish receive /srv/images\".",
	}, 1, 1, p.receive).
		note("`publish sync` starts it by ssh").
		example("bind a key of ssh to a directory: a line for authorized_keys",
			"echo 'restrict,command=\"publish receive /srv/images\" ssh-ed25519 AAAA...'").
		completes(upTo(1, these(":dirs")))
}

func (p *program) receive(c *cli.Context) error {
	if p.repo != "" {
		return usage("", "--repo: DIR says where the repository is")
	}
	dir, err := filepath.Abs(c.Args().First())
	if err != nil {
		return err
	}
	if isTerminal(os.Stdin) {
		return usage("publish sync starts it, by ssh", "publish receive: standard input is a terminal")
	}
	host := func(ctx context.Context, dir string, setup publish.Setup) (*publish.Repo, error) {
		r, err := p.target(p.warn, p.hookOutput)(ctx, dir, setup)
		p.opened = r
		return r, err
	}
	return fanout.Serve(c.Context, os.Stdin, p.stdout, dir, host)
}

// target returns a function that opens the repository of a target, and makes it if there is
// none. It may be called by several goroutines. hookOutput is nil if what its hooks print is
// not shown.
func (p *program) target(warn func(string), hookOutput func() io.WriteCloser) fanout.Host {
	return func(_ context.Context, dir string, setup publish.Setup) (*publish.Repo, error) {
		err := publish.CheckLayout(dir)
		if e := new(publish.Error); errors.As(err, &e) && e.Kind == publish.Usage { // it is no repository
			if _, err := format(setup.Format); err != nil {
				return nil, err
			}
			err = publish.InitTarget(dir, choices(), setup)
		} else if err == nil && setup.S3 != nil {
			err = publish.Configure(dir, setup)
		}
		if err != nil {
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
		opt := p.options()
		opt.Warn, opt.Progress, opt.Waiting, opt.HookOutput = warn, nil, nil, hookOutput
		if setup.Leader != nil {
			opt.Warn = func(text string) { warn(setup.Leader.Target + ": " + text) }
		}
		return publish.Open(dir, c, f, siteKinds(), opt)
	}
}

// oneByOne lets several goroutines warn, each about a target of this machine.
func (p *program) oneByOne() func(string) {
	var mu sync.Mutex
	return func(text string) {
		mu.Lock()
		defer mu.Unlock()
		p.warn(text)
	}
}
