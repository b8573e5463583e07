//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"example.com/publish/publish/site/bucket/storetest"
	"example.com/publish/scripts/crash/check"
	"example.com/publish/scripts/crash/trace"
)

// prefix is where the production of a scenario is in its bucket.
const prefix = "pub/"

// shop is the object store of one repository: a server in this process, so it lives on
// when publish is killed. Each copy of a repository has a copy of its own.
type shop struct {
	server *storetest.Server
	proxy  *storetest.Proxy
	stop   func()
}

// shops are those of the repositories of a bench, by their paths.
type shops struct {
	mu sync.Mutex
	of map[string]*shop
}

func (s *shops) get(repo string) *shop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[repo]
}

// open starts the store of a repository, with what that of another one has; "": with
// nothing.
func (s *shops) open(repo, like string) error {
	start := storetest.StartFake
	if like != "" {
		start = s.get(like).server.Copy
	}
	server, stop, err := start()
	if err != nil {
		return err
	}
	to, err := url.Parse(server.Endpoint)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string]*shop{}
	}
	s.of[repo] = &shop{server: server, proxy: storetest.StartProxy(to), stop: stop}
	return nil
}

// close ends the store of a repository, if it has one.
func (s *shops) close(repo string) {
	s.mu.Lock()
	shop := s.of[repo]
	delete(s.of, repo)
	s.mu.Unlock()
	if shop != nil {
		shop.proxy.Close()
		shop.stop()
	}
}

// env are the variables by which publish finds the store.
func (s *shop) env() (list []string) {
	for name, value := range s.server.Env() {
		if name == "AWS_ENDPOINT_URL" {
			value = s.proxy.Endpoint
		}
		list = append(list, name+"="+value)
	}
	return list
}

// lay writes what clients can read of the store into a directory.
func (s *shop) lay(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return s.server.Each(func(key string, _ map[string]string, data []byte) error {
		key, ours := strings.CutPrefix(key, prefix)
		if !ours || strings.HasPrefix(key, "_publish/") {
			return nil
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(key)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, key), data, 0o644)
	})
}

// look is scenario.look, also for a production in a store.
func (b *bench) look(repo string) (st state, err error) {
	if !b.bucket {
		return b.scenario.look(repo)
	}
	if st.production, err = b.production(repo); err != nil {
		return st, fmt.Errorf("production: %w", err)
	}
	// What production has need not be in staging.
	dir := filepath.Join(filepath.Dir(repo), "seen-staging")
	if err := b.shops.get(repo).lay(dir); err != nil {
		return st, err
	}
	if err := os.RemoveAll(filepath.Join(dir, "streams")); err != nil {
		return st, err
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(repo, "staging")+"/.", dir).CombinedOutput(); err != nil {
		if _, none := os.Lstat(filepath.Join(repo, "staging")); none == nil {
			return st, fmt.Errorf("cp: %w\n%s", err, out)
		}
	}
	if st.staging, err = check.Staging(dir); err != nil {
		return st, fmt.Errorf("staging: %w", err)
	}
	return st, nil
}

// production is scenario.production, also for one in a store.
func (b *bench) production(repo string) (*check.View, error) {
	if !b.bucket {
		return b.scenario.production(repo)
	}
	dir := filepath.Join(filepath.Dir(repo), "seen")
	if err := b.shops.get(repo).lay(dir); err != nil {
		return nil, err
	}
	return check.InStore(dir)
}

// find finds what is revoked, in the repository and in its store.
func (b *bench) find(repo string) ([]string, error) {
	found, err := check.Find(repo, b.secrets)
	if err != nil || !b.bucket || len(b.secrets) == 0 {
		return found, err
	}
	dir := filepath.Join(filepath.Dir(repo), "seen")
	if err := b.shops.get(repo).lay(dir); err != nil {
		return nil, err
	}
	more, err := check.Find(dir, b.secrets)
	for _, name := range more {
		found = append(found, "s3://"+name)
	}
	return found, err
}

// The faults of a request, beside those that a proxy knows: the command is killed before it
// reaches the store, and after the store did what it says.
const (
	killBefore = "request"
	killAfter  = "answer"
)

// requestFault returns what becomes of a request by the name of a fault.
func requestFault(name string) (storetest.Fault, bool) {
	switch name {
	case killBefore:
		return storetest.NeverSent, true
	case killAfter:
		return storetest.AnswerKilled, true
	}
	for _, f := range storetest.Faults() {
		if strings.ReplaceAll(f.String(), " ", "-") == name {
			return f, true
		}
	}
	return storetest.None, false
}

// fits reports whether a store can answer a request so.
func fits(f storetest.Fault, r storetest.Request) bool {
	conditional := r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != ""
	switch f {
	case storetest.Own412, storetest.Conflict:
		return conditional && r.Method == "PUT"
	case storetest.Error200:
		return r.Method == "POST" && r.Query.Has("uploadId")
	}
	return true
}

// atRequest runs the command in a repository, with a fault at its n-th request. what is
// that request; "" if there were not so many.
func (b *bench) atRequest(ctx context.Context, repo string, args []string, f fault, hits func(storetest.Request) bool) (
	result *trace.Result, what string, err error) {
	cmd := exec.CommandContext(ctx, b.publish, args...)
	cmd.Dir, cmd.Env = repo, b.env(repo)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	started, proxy := make(chan struct{}), b.shops.get(repo).proxy
	var once sync.Once
	var hit storetest.Request
	kill := func(r storetest.Request) {
		if hits(r) {
			once.Do(func() {
				<-started
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			})
		}
	}
	var mu sync.Mutex
	proxy.Spoil(func(r storetest.Request) storetest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if hit.N > 0 || !hits(r) {
			return storetest.None
		}
		if hit = r; !fits(*f.request, r) {
			return storetest.None
		}
		return *f.request
	})
	switch f.name {
	case killBefore:
		proxy.Around(kill, nil)
	case killAfter:
		proxy.Around(nil, kill)
	}
	defer proxy.Around(nil, nil)
	defer proxy.Spoil(nil)
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	close(started)
	if err := cmd.Wait(); ctx.Err() != nil {
		return nil, "", ctx.Err()
	} else if cmd.ProcessState == nil {
		return nil, "", err
	}
	mu.Lock()
	defer mu.Unlock()
	result = &trace.Result{Hit: hit.N > 0, ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(),
		Stderr: stderr.Bytes()}
	if result.Hit {
		what = fmt.Sprintf("%d %s %s", hit.N, hit.Method, hit.Path)
	}
	return result, what, nil
}

// makeWreckAtSwap is makeWreck for a production in a store: the command was killed before or
// after the request that replaces the pointer.
func (b *bench) makeWreckAtSwap(ctx context.Context) error {
	repo, err := b.copy("wreck")
	if err != nil {
		return err
	}
	kind, name := storetest.NeverSent, killBefore
	if b.scenario.after {
		kind, name = storetest.AnswerKilled, killAfter
	}
	result, _, err := b.atRequest(ctx, repo, b.wreck, fault{name: name, request: &kind}, func(r storetest.Request) bool {
		return r.Method == "PUT" && r.Header.Get("If-Match") != ""
	})
	if err == nil && !result.Hit {
		err = fmt.Errorf("%v never replaces the pointer\n%s", b.wreck, result.Stderr)
	}
	b.template = repo
	return err
}
