//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// asking is what a load of requests is: so many, of the same kind, over so many
// connections that stay open.
type asking struct {
	path        string
	headers     []string // whole lines
	status      int      // what each answer must be
	requests    int
	connections int
	tls         bool
}

// load makes the requests. The client does as little as it can, since it runs on the same
// processors. An answer with another status, or a body of another length than the first
// one, is an error.
func (a asking) load(address string) (took time.Duration, err error) {
	request := []byte("GET " + a.path + " HTTP/1.1\r\nHost: bench\r\n" + strings.Join(append(a.headers, ""), "\r\n") +
		"\r\n")
	var left, size atomic.Int64
	left.Store(int64(a.requests))
	size.Store(-1)
	var group sync.WaitGroup
	var once sync.Once
	conns := make([]net.Conn, a.connections)
	for i := range conns {
		if conns[i], err = net.Dial("tcp", address); err != nil {
			return 0, err
		}
		defer conns[i].Close()
		if a.tls {
			c := tls.Client(conns[i], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			if err := c.Handshake(); err != nil {
				return 0, err
			}
			conns[i] = c
		}
	}
	start := time.Now()
	for _, conn := range conns {
		group.Go(func() {
			r := bufio.NewReaderSize(conn, 64<<10)
			for left.Add(-1) >= 0 {
				n, e := a.one(conn, r, request)
				if e == nil && !size.CompareAndSwap(-1, n) && size.Load() != n {
					e = fmt.Errorf("%s: an answer of %d bytes, and one of %d", a.path, size.Load(), n)
				}
				if e != nil {
					once.Do(func() { err = e })
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(start), err
}

// one makes a request and reads its answer.
func (a asking) one(conn net.Conn, r *bufio.Reader, request []byte) (length int64, err error) {
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || string(line[9:12]) != strconv.Itoa(a.status) {
		return 0, fmt.Errorf("%s: %s", a.path, line)
	}
	chunked := false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) == 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, err
			}
		} else if bytes.EqualFold(name, []byte("transfer-encoding")) {
			chunked = true
		}
	}
	if a.status == 304 {
		return 0, nil
	}
	if chunked {
		return -2, discardChunks(r)
	}
	_, err = io.CopyN(io.Discard, r, length)
	return length, err
}

func discardChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := r.Discard(int(n) + 2); err != nil || n == 0 {
			return err
		}
	}
}
