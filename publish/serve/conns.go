package serve

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// connections counts those that are open, and closes those that are too many.
type connections struct {
	all, perClient int // limits; 0: none
	rejected       func(reason string)

	number atomic.Int64
	mu     sync.Mutex
	open   map[net.Conn]string // with the address of the client
	by     map[string]int
}

func (c *connections) count() int { return int(c.number.Load()) }

// state is for http.Server.ConnState.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if reason := c.add(conn); reason != "" {
			c.rejected(reason)
			_ = conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		c.remove(conn)
	}
}

// add counts a connection. It returns why it is one too many; "" if it is not.
func (c *connections) add(conn net.Conn) (reason string) {
	client, _, _ := net.SplitHostPort(conn.RemoteAddr().String()) // "" for a socket in the file system
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all > 0 && len(c.open) >= c.all:
		return rejectedConnections
	case c.perClient > 0 && client != "" && c.by[client] >= c.perClient:
		return rejectedPerClient
	}
	c.open[conn] = client
	c.by[client]++
	c.number.Add(1)
	return ""
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client, ok := c.open[conn]
	if !ok {
		return
	}
	delete(c.open, conn)
	c.number.Add(-1)
	if c.by[client]--; c.by[client] == 0 {
		delete(c.by, client)
	}
}
