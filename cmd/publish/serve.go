package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"example.com/publish/cmd/publish/earlyheap"
	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
	"example.com/publish/publish/serve"
)

func (p *program) serveCommand() *command {
	return verb(&cli.Command{
		Name: "serve", Category: "production",
		Usage: "serve production over HTTP and HTTPS",
		Description: "Answers requests for production until it gets a signal. After a promote or revert has ended, no " +
			"client gets an index of the generation before. It takes no lock and writes nothing in the repository; " +
			"with --requests it writes what clients that know the token ask for into that directory. " +
			"Addresses are http://HOST:PORT, https://HOST:PORT or unix:/PATH; the key serve of publish.yaml has " +
			"these and all other settings. It prints each address on a line, and that of --admin last.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Usage: "wait for clients at `URL`; may be given several times"},
			&cli.StringFlag{Name: "admin", Usage: "have the metrics at `URL`; off: nowhere"},
			&cli.StringFlag{Name: "tls-cert", Usage: "take the certificate from `FILE`, in PEM"},
			&cli.StringFlag{Name: "tls-key", Usage: "take its key from `FILE`"},
			&cli.BoolFlag{Name: "tls-self-signed", Usage: "make a certificate, to try things out"},
			&cli.StringFlag{Name: "access-log", Usage: "write a line of JSON for each request to `FILE`; -: standard " +
				"output; off: none"},
			&cli.StringFlag{Name: "requests", Usage: "take requests for images into `DIR`; off: take none"},
			&cli.StringFlag{Name: "requests-token", Usage: "from clients that show the token in `FILE`"},
		},
	}, 0, 0, p.serve).
		example("serve production at the addresses in publish.yaml", "publish serve").
		example("serve it to all, with a certificate",
			"publish serve --listen http://:80 --listen https://:443 --tls-cert fullchain.pem --tls-key privkey.pem").
		completesFlag("tls-cert", these(":files")).completesFlag("tls-key", these(":files")).
		completesFlag("access-log", these(":files", "-", "off")).completesFlag("admin", these("off")).
		completesFlag("requests", these(":dirs", "off")).completesFlag("requests-token", these(":files"))
}

func (p *program) serve(c *cli.Context) error {
	repo, err := p.open()
	if err != nil {
		return err
	}
	conf := &repo.Config.Serve
	if c.IsSet("listen") {
		conf.Listen = c.StringSlice("listen")
	}
	if c.IsSet("admin") {
		conf.Admin = c.String("admin")
	}
	for flag, to := range map[string]*string{"tls-cert": &conf.TLS.Cert, "tls-key": &conf.TLS.Key} {
		if !c.IsSet(flag) {
			continue
		}
		if c.Bool("tls-self-signed") {
			return usage("", "--tls-self-signed cannot be used with --tls-cert and --tls-key")
		}
		if *to, err = filepath.Abs(c.String(flag)); err != nil {
			return err
		}
	}
	if c.IsSet("access-log") {
		switch conf.AccessLog = c.String("access-log"); conf.AccessLog {
		case "off", "":
			conf.AccessLog = ""
		case "-":
		default: // as any path on a command line, and not as in publish.yaml
			if conf.AccessLog, err = filepath.Abs(conf.AccessLog); err != nil {
				return err
			}
		}
	}
	if c.IsSet("requests") || c.IsSet("requests-token") {
		if err := requestsOf(c, conf); err != nil {
			return err
		}
	}
	if err := conf.Check(); err != nil {
		return usage("", "%s", err)
	}
	p.memory.use(&forServing)
	earlyheap.Small()
	// SIGHUP ends other commands; here it means: look again.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(c.Context), p.ends...)
	defer stop()
	if err := c.Context.Err(); err != nil {
		return err
	}
	reload, quit := make(chan struct{}, 1), make(chan struct{})
	go signals(ctx, p.ends, reload, quit)
	level := slog.LevelInfo
	if p.quiet {
		level = slog.LevelWarn
	}
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: level}))
	server := serve.New(repo, log)
	server.Version, server.Mirror = programVersion(), mirror.NewReader(repo, p.clock)
	return server.Run(ctx, serve.Options{SelfSigned: c.Bool("tls-self-signed"), Output: p.stdout,
		Ready: func(urls []string) {
			for _, u := range urls {
				fmt.Fprintln(p.out, u)
			}
			_ = p.flush() // a reader that went away does not end a server
		},
	}, reload, quit)
}

// requestsOf reads the flags of requests.
func requestsOf(c *cli.Context, conf *publish.ServeConfig) (err error) {
	if c.String("requests") == "off" {
		conf.Requests, conf.RequestsToken = "", ""
		return nil
	}
	for flag, to := range map[string]*string{"requests": &conf.Requests, "requests-token": &conf.RequestsToken} {
		if !c.IsSet(flag) {
			continue
		}
		if *to, err = filepath.Abs(c.String(flag)); err != nil {
			return err
		}
	}
	if conf.Requests == "" || conf.RequestsToken == "" {
		return usage("", "--requests and --requests-token need each other, or their keys under serve in publish.yaml")
	}
	return nil
}

// signals passes SIGHUP on to reload. After ctx has ended, which the first of ends does,
// the next one closes quit.
func signals(ctx context.Context, ends []os.Signal, reload chan<- struct{}, quit chan<- struct{}) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hup:
			select {
			case reload <- struct{}{}:
			default: // it is about to look
			}
		}
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, ends...)
	<-again
	close(quit)
}
