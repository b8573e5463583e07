//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"example.com/publish/publish/site/bucket/storetest"
)

// objects is an object store that runs while its cases do, with a proxy before it that
// counts. It is versitygw if that is built (make store), which keeps objects as files,
// else a fake in this process.
type objects struct {
	*storetest.Server
	proxy *storetest.Proxy
	stops []func()
}

// asked is what a store was asked for.
type asked struct {
	Requests int   `json:"requests"`
	Lists    int   `json:"lists"`
	Sent     int64 `json:"sent_bytes"`     // bodies of requests
	Received int64 `json:"received_bytes"` // bodies of answers
	Manifest int64 `json:"manifest_bytes"` // of what was sent
	Pointer  int64 `json:"pointer_bytes"`
	Catalogs int   `json:"catalogs"` // how often a catalog was sent
	Least    int64 `json:"least_bytes"`
	// Each are the requests, if they are few.
	Each []string `json:"each,omitempty"`
}

// objects starts one below dir.
func (w *workshop) objects() (*objects, error) {
	b, o := w.bench, &objects{}
	program, err := filepath.Abs("bin/versitygw")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err == nil {
		err = o.versity(b, program, w.path("store"))
	} else {
		b.say("%v: a fake stands for it", err)
		var stop func()
		o.Server, stop, err = storetest.StartFake()
		o.stops = append(o.stops, stop)
	}
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, err
	}
	o.proxy = storetest.StartProxy(to)
	o.stops = append(o.stops, o.proxy.Close)
	for name, value := range o.Env() {
		err := os.Setenv(name, value)
		if value == "" { // aws takes an empty profile for a name
			err = os.Unsetenv(name)
		}
		if err != nil {
			return nil, err
		}
	}
	for name, value := range map[string]string{"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": o.proxy.Endpoint,
		"ACCESS_KEY_ID": o.AccessKey, "SECRET_ACCESS_KEY": o.Secret, "REGION": o.Region, "NO_CHECK_BUCKET": "true"} {
		if err := os.Setenv("RCLONE_CONFIG_BENCH_"+name, value); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *objects) versity(b *bench, program, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	o.Server = &storetest.Server{Kind: "versitygw", Region: "us-east-1", Bucket: "images", AccessKey: "publish",
		Secret: "not-a-secret", Endpoint: "http://" + address, Dir: filepath.Join(dir, "root", "images")}
	if err := errors.Join(l.Close(), os.MkdirAll(o.Dir, 0o755), os.MkdirAll(dir+"/sidecar", 0o755)); err != nil {
		return err
	}
	cmd := exec.Command(program, "--port", address, "--access", o.AccessKey, "--secret", o.Secret, "--region", o.Region,
		"--keep-alive", "--quiet", "posix", "--sidecar", dir+"/sidecar", filepath.Dir(o.Dir))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	o.stops = append(o.stops, func() { _ = cmd.Process.Kill(); <-ended })
	return answers(b.ctx, address, ended)
}

func (o *objects) stop() {
	for _, f := range o.stops {
		f()
	}
}

// repo makes a repository whose production is at this prefix.
func (o *objects) repo(w *workshop, dir, prefix string) error {
	if err := emptied(dir); err != nil {
		return err
	}
	yaml := fmt.Sprintf("production: s3://%s/%s\ns3: {endpoint: %q, concurrency: %d}\n", o.Bucket, prefix,
		o.proxy.Endpoint, concurrency)
	if err := os.WriteFile(dir+"/publish.yaml", []byte(yaml), 0o644); err != nil {
		return err
	}
	_, err := w.bench.do(command{argv: []string{w.bench.bin, "init", "--quiet", dir}})
	return err
}

// reset begins to count anew.
func (o *objects) reset() { o.proxy.Spoil(nil) }

// counts adds what was asked for since reset, if least bytes are what a promote of nothing
// but new files sends, and the catalog.
func (o *objects) counts(least func() int64) func(*sample) {
	return func(s *sample) {
		a := &asked{}
		for _, r := range o.proxy.Requests() {
			if a.Requests++; a.Requests <= 32 {
				a.Each = append(a.Each, fmt.Sprintf("%s %s?%s: %d, %d bytes sent, %d received", r.Method, r.Path,
					r.Query.Encode(), r.Answered, r.Sent, r.Received))
			}
			a.Sent += r.Sent
			a.Received += r.Received
			if r.Method == "GET" && r.Query.Has("list-type") {
				a.Lists++
			}
			if r.Method != "PUT" {
				continue
			}
			switch name := filepath.Base(r.Path); {
			case strings.Contains(r.Path, "/_publish/generations/"):
				a.Manifest += r.Sent
			case strings.HasSuffix(r.Path, "/"+indexName), name == "pointer.json":
				a.Pointer = r.Sent
			case strings.Contains(r.Path, "/streams/v1/images"):
				a.Catalogs++
			}
		}
		if least != nil {
			a.Least = least() + a.Pointer
		}
		s.Asked = a
	}
}
