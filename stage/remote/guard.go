package remote

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// kind says where an address leads to. An address of another kind than public is one that a
// stranger must not lead us to.
type kind uint32

const (
	public    kind = 0
	private   kind = 1 << iota // of the network that we are in
	linkLocal                  // of the link, such as what a cloud tells its machines
	loopback                   // of this machine
)

// words are the kinds as a message has them.
func (k kind) words() string {
	switch k {
	case private:
		return "a private address"
	case linkLocal:
		return "a link-local address"
	case loopback:
		return "a loopback address"
	}
	return "a public address"
}

// Networks that package netip has no method for.
var (
	carrier  = netip.MustParsePrefix("100.64.0.0/10") // shared address space
	thisNet  = netip.MustParsePrefix("0.0.0.0/8")
	azure    = netip.MustParsePrefix("168.63.129.16/32") // what Azure tells its machines
	nat64    = netip.MustParsePrefix("64:ff9b::/96")
	sixToTen = netip.MustParsePrefix("2002::/16")
)

// kindOf is the kind of an address. One of IPv4 inside one of IPv6 counts.
func kindOf(a netip.Addr) kind {
	a = a.Unmap().WithZone("")
	if b := a.As16(); a.Is6() && nat64.Contains(a) {
		a = netip.AddrFrom4([4]byte(b[12:16]))
	} else if a.Is6() && sixToTen.Contains(a) {
		a = netip.AddrFrom4([4]byte(b[2:6]))
	}
	switch {
	case a.IsLoopback(), a.IsUnspecified(), thisNet.Contains(a):
		return loopback
	case a.IsLinkLocalUnicast(), a.IsMulticast(), azure.Contains(a):
		return linkLocal
	case a.IsPrivate(), carrier.Contains(a):
		return private
	}
	return public
}

// guard dials, and refuses addresses that a server must not lead to.
type guard struct {
	own     map[string]bool // hosts with ports of the server itself
	proxies sync.Map        // the same of proxies
	kinds   atomic.Uint32   // of the addresses that the server has
	connect time.Duration
}

// refusedError is a way that is not taken.
type refusedError struct {
	host string
	kind kind
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("the server leads to %s, which is %s", e.host, e.kind.words())
}

const hintRefused = "only a server at such an address itself may lead to one"

// lets reports whether the server may lead to an address: those of its own kind are no
// others than it could ask itself. This machine may lead into its network.
func (g *guard) lets(k kind) bool {
	has := kind(g.kinds.Load())
	return k == public || has&k != 0 || k == private && has&loopback != 0
}

// through notes that a proxy is dialed.
func (g *guard) through(proxy *url.URL) {
	u := *proxy
	if u.Port() == "" && strings.HasPrefix(u.Scheme, "socks5") {
		u.Host = net.JoinHostPort(u.Hostname(), "1080")
	}
	g.proxies.Store(DialedAt(&u), true)
}

// check refuses a URL whose host is an address, or a name of this machine. Behind a proxy
// nothing else can be told; without one, dial looks at what a name stands for.
func (g *guard) check(u *url.URL) error {
	k, host := public, strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if a, err := netip.ParseAddr(host); err == nil {
		k = kindOf(a)
	} else if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		k = loopback
	}
	if g.own[DialedAt(u)] {
		g.kinds.Or(uint32(k))
		return nil
	}
	if !g.lets(k) {
		return &refusedError{host, k}
	}
	return nil
}

// dial is net.Dialer.DialContext. It looks at an address after the name was resolved, so
// that a name which stands for another one each time leads nowhere either.
func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	own := g.own[strings.ToLower(addr)]
	_, proxy := g.proxies.Load(strings.ToLower(addr))
	d := net.Dialer{Timeout: g.connect, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		k := kindOf(at.Addr())
		switch {
		case own:
			g.kinds.Or(uint32(k))
		case !proxy && !g.lets(k):
			return &refusedError{addr, k}
		}
		return nil
	}}
	return d.DialContext(ctx, network, addr)
}

// DialedAt is the host and port that a URL has dialed.
func DialedAt(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
