package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// maxHeader bounds the headers of a request, in bytes.
const maxHeader = 64 << 10

// Options are what a run needs beside the configuration.
type Options struct {
	SelfSigned bool      // make a certificate, instead of reading one
	Output     io.Writer // where an access log named - goes
	// Ready is called when all listeners are open, with their addresses as URLs.
	Ready func(urls []string)
}

// Run serves until ctx ends; then it closes the listeners, and waits for transfers to
// end, as long as the configuration allows. A value from reload makes it look at
// production, and read certificates and open the access log anew. A value from quit ends
// the wait.
func (s *Server) Run(ctx context.Context, opt Options, reload, quit <-chan struct{}) error {
	certs, err := s.certificates(opt.SelfSigned)
	if err != nil {
		return err
	}
	s.certs.Store(certs)
	at := s.config.AccessLogIn(s.repo.Dir)
	if s.access, err = openAccessLog(at, opt.Output, s.log, s.repo.CheckOutside); err != nil {
		return err
	}
	defer s.access.close()
	if s.intake, err = s.openIntake(); err != nil {
		return err
	}
	list, err := s.listen(certs != nil)
	if err != nil {
		return err
	}
	r := &run{server: s, certs: certs, log: s.log}
	work, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the last transfer has ended
	var group sync.WaitGroup
	group.Go(func() { s.Keep(work) })
	group.Go(func() { s.pack(work) })
	group.Go(func() { s.packTexts(work) })
	group.Go(func() { s.check(work) })
	defer group.Wait()
	defer s.kept.close()
	defer stop()
	var urls []string
	for _, l := range list {
		r.start(l)
		urls = append(urls, l.url())
	}
	opt.Ready(urls)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // without systemd it does nothing
	return r.wait(ctx, reload, quit)
}

// run is one run of a server: its listeners, until all have ended.
type run struct {
	server *Server
	certs  *certificates
	log    *slog.Logger
	list   []*http.Server

	listeners []*listener
	group     sync.WaitGroup
	failed    chan error
}

// start serves at a listener.
func (r *run) start(l *listener) {
	if r.failed == nil {
		r.failed = make(chan error, 1)
	}
	limits := r.server.config.Limits
	srv := &http.Server{
		Handler:           l.handler,
		ReadHeaderTimeout: time.Duration(limits.HeaderTimeout),
		IdleTimeout:       time.Duration(limits.IdleTimeout),
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
		ConnState:         r.server.conns.state,
		ConnContext:       r.server.conns.context,

		DisableGeneralOptionsHandler: true,
	}
	r.list, r.listeners = append(r.list, srv), append(r.listeners, l)
	r.group.Go(func() {
		var err error
		if l.tls {
			srv.TLSConfig = r.certs.config()
			err = srv.ServeTLS(l.Listener, "", "")
		} else {
			err = srv.Serve(l.Listener)
		}
		if !errors.Is(err, http.ErrServerClosed) && r.server.ending.Err() == nil {
			select {
			case r.failed <- fmt.Errorf("%s: %w", l.url(), err):
			default:
			}
		}
	})
}

// wait serves until ctx ends or a listener fails, then drains.
func (r *run) wait(ctx context.Context, reload, quit <-chan struct{}) error {
	every := time.NewTicker(checkCertificates)
	defer every.Stop()
	beat := watchdog()
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.drain(quit)
		case err := <-r.failed:
			return errors.Join(err, r.drain(quit))
		case <-reload:
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading)
			r.server.Reload()
			r.certs.refresh(r.log, true)
			r.server.access.reopen()
			r.server.intake.reload(r.log)
			_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
		case <-every.C:
			r.certs.refresh(r.log, false)
		case <-beat.C:
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}
}

// watchdog ticks as often as systemd wants to hear of the program; never without it.
func watchdog() *time.Ticker {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil || d <= 0 {
		t := time.NewTicker(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTicker(d / 2)
}

// drain closes the listeners and waits for transfers to end. What has not ended when the
// time is over, or at a value from quit, is cut.
func (r *run) drain(quit <-chan struct{}) error {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	r.server.end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.server.config.Limits.Drain))
	defer cancel()
	go func() {
		select {
		case <-quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	for i, srv := range r.list {
		_ = r.listeners[i].Close()
		srv.SetKeepAlivesEnabled(false)
	}
	r.group.Wait() // what was accepted at the last moment is counted now
	r.settle(ctx)
	var ends sync.WaitGroup
	for _, srv := range r.list {
		ends.Go(func() {
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close()
			}
		})
	}
	ends.Wait()
	return nil
}

// settle waits a little for the first request of each connection: net/http drops one that
// comes after Shutdown was called, and a client that connected before that would be
// refused although it did nothing wrong.
func (r *run) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for r.server.conns.waiting() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// settleFor is how long a connection may be silent before the end cuts it.
const settleFor = 3 * time.Second
