//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

const oursIdle = "publish, idle connections"

// views measures what publish serve costs when production changes, and the memory that it
// takes: with a large tree, and for each connection that does nothing.
func (b *bench) views(ctx context.Context) error {
	const size, idle = 100_000, 2_000
	if !b.wants("serve-view", size) && !b.wants("serve-idle", idle) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	tree, repo := w.path("tree"), w.path("repo")
	if err := makeTree(tree, shape{versions: b.n(size), root: 16}); err != nil {
		return err
	}
	if err := w.newRepo(repo, tree); err != nil {
		return err
	}
	if _, err := b.do(b.publish(repo, "promote")...); err != nil {
		return err
	}
	if b.wants("serve-view", size) {
		for round := range min(b.rounds, 3) {
			if err := b.view(ctx, w, repo, size, round); err != nil {
				return fmt.Errorf("serve-view: %w", err)
			}
		}
		err := b.measure(ctx, experiment{name: "serve-view", size: size, items: b.n(size), rounds: 3,
			contenders: []contender{{name: find, run: func(int) []command {
				return one("", "find", repo+"/production/", "-fprintf", "/dev/null", "%s\n")
			}}}})
		if err != nil {
			return err
		}
	}
	if !b.wants("serve-idle", idle) {
		return nil
	}
	return b.idle(ctx, repo, idle)
}

// view starts a server, promotes ten images, and takes the time of the processor that the
// server had until it answers from the new generation, and the memory that it has two seconds
// later, when it has given back what it needed for that.
func (b *bench) view(ctx context.Context, w *workshop, repo string, size, round int) error {
	b.say("serve-view/%d, round %d", size, round+1)
	s := b.publishServe(ours, repo)
	cmd, address, _, err := s.begin()
	if err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	index := asking{path: "/streams/v1/index.json", status: 200, requests: 1, connections: 1}
	if err := ready(ctx, address); err != nil {
		return err
	}
	for i := range 10 {
		img, err := makeImage(w.path(fmt.Sprint("image", round, "-", i)), fmt.Sprint("new", round, "-", i), 4<<10)
		if err != nil {
			return err
		}
		if _, err := b.do(b.publish(repo, "stage", "add", img.metadata, img.root)...); err != nil {
			return err
		}
	}
	before, err := processors(cmd.Process.Pid)
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := b.do(b.publish(repo, "promote")...); err != nil {
		return err
	}
	if err := errors.Join(ready(ctx, address), only(index.load(address))); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := processors(cmd.Process.Pid)
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	memory, err := resident(cmd.Process.Pid)
	b.samples = append(b.samples, sample{Experiment: "serve-view", Size: size, Items: b.n(size), Contender: ours,
		Round: round, WallUS: took.Microseconds(), CPUUS: (after - before).Microseconds(), PeakBytes: memory})
	return errors.Join(err, ctx.Err())
}

// idle opens connections that ask once and then do nothing, and takes the memory that they
// add.
func (b *bench) idle(ctx context.Context, repo string, n int) error {
	b.say("serve-idle/%d", n)
	cmd, address, _, err := b.publishServe(oursIdle, repo).begin()
	if err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	index := asking{path: "/streams/v1/index.json", status: 200, requests: 200, connections: 2}
	if err := ready(ctx, address); err != nil {
		return err
	}
	if _, err := index.load(address); err != nil {
		return err
	}
	time.Sleep(time.Second)
	before, err := resident(cmd.Process.Pid)
	if err != nil {
		return err
	}
	request := []byte("GET /-/healthz HTTP/1.1\r\nHost: bench\r\n\r\n")
	ask := asking{path: "/-/healthz", status: 200}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		if _, err := ask.one(conn, bufio.NewReader(conn), request); err != nil {
			return err
		}
	}
	after, err := resident(cmd.Process.Pid)
	b.samples = append(b.samples, sample{Experiment: "serve-idle", Size: n, Items: n, Contender: oursIdle,
		WallUS: 1, PeakBytes: max(0, after-before)})
	return errors.Join(err, ctx.Err())
}

// ready waits until a server answers from what production is.
func ready(ctx context.Context, address string) error {
	for ctx.Err() == nil {
		a := asking{path: "/-/readyz", status: 200, requests: 1, connections: 1}
		if _, err := a.load(address); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

func only(_ time.Duration, err error) error { return err }
