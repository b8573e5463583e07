package serve

import (
	"context"
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
	open   map[net.Conn]*connection
	by     map[string]int // by the address of the client
}

// connection is one that is open.
type connection struct {
	client string
	asked  atomic.Bool // a request has reached its handler
}

type connectionKey struct{}

// context is for http.Server.ConnContext: it counts a new connection, or closes it, and
// requests find it in their context.
func (c *connections) context(ctx context.Context, conn net.Conn) context.Context {
	known, reason := c.add(conn)
	if reason != "" {
		c.rejected(reason)
		_ = conn.Close()
		return ctx
	}
	return context.WithValue(ctx, connectionKey{}, known)
}

// began says that a request has reached its handler.
func began(r *http.Request) {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok && !c.asked.Load() {
		c.asked.Store(true)
	}
}

// waiting reports whether a connection is open whose first request has not come yet.
func (c *connections) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		if !conn.asked.Load() {
			return true
		}
	}
	return false
}

func (c *connections) count() int { return int(c.number.Load()) }

// state is for http.Server.ConnState.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		c.remove(conn)
	}
}

// add counts a connection. It returns why it is one too many; "" if it is not.
func (c *connections) add(conn net.Conn) (known *connection, reason string) {
	client, _, _ := net.SplitHostPort(conn.RemoteAddr().String()) // "" for a socket in the file system
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all > 0 && len(c.open) >= c.all:
		return nil, rejectedConnections
	case c.perClient > 0 && client != "" && c.by[client] >= c.perClient:
		return nil, rejectedPerClient
	}
	known = &connection{client: client}
	c.open[conn] = known
	c.by[client]++
	c.number.Add(1)
	return known, ""
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.open[conn]
	if !ok {
		return
	}
	delete(c.open, conn)
	c.number.Add(-1)
	if c.by[known.client]--; c.by[known.client] == 0 {
		delete(c.by, known.client)
	}
}
