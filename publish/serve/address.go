package serve

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// errHost means that the Host header of a request is no host. Such a header would stand in
// commands that people copy.
var errHost = errors.New("the Host header is not a host")

// address is where clients of the public listeners find the tree: serve.public_url, else
// what the request says.
func (s *Server) address(r *http.Request, admin bool) (catalog.Address, error) {
	if url := strings.TrimRight(s.config.PublicURL, "/"); url != "" {
		return catalog.Address{URL: url}, nil
	}
	host := strings.ToLower(r.Host)
	if host == "" { // HTTP/1.0
		host = localHost(r)
	}
	if !isHost(host) {
		return catalog.Address{}, errHost
	}
	if admin {
		return catalog.Address{URL: s.listensAt(host)}, nil
	}
	scheme := "http"
	if r.TLS != nil || s.behind.sent(r) && strings.EqualFold(first(r.Header["X-Forwarded-Proto"]), "https") {
		scheme = "https"
	}
	return catalog.Address{URL: scheme + "://" + host}, nil
}

// localHost is the address at which a request arrived.
func localHost(r *http.Request) string {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.String()
	}
	return "localhost"
}

// listensAt is the URL of a public listener, of one with TLS if there is any. host is that
// of a request to the admin listener, for a listener at all addresses of the machine.
func (s *Server) listensAt(host string) string {
	url := "http://" + host
	for _, text := range s.config.Listen {
		at, err := publish.ParseListen(text)
		if err != nil || at.Network != "tcp" {
			continue
		}
		name, port, _ := net.SplitHostPort(at.Address)
		if a, err := netip.ParseAddr(name); name == "" || err == nil && a.IsUnspecified() {
			name = hostName(host)
		}
		scheme, usual := "http", "80"
		if at.TLS {
			scheme, usual = "https", "443"
		}
		address := net.JoinHostPort(name, port)
		if port == usual {
			address = strings.TrimSuffix(address, ":"+port)
		}
		url = scheme + "://" + address
		if at.TLS {
			break
		}
	}
	return url
}

// hostName is a host without its port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// isHost reports whether a text is the name or the address of a host, with or without a
// port.
func isHost(text string) bool {
	if len(text) > 255+6 {
		return false
	}
	name := text
	if rest, bracket := strings.CutPrefix(text, "["); bracket {
		address, port, ok := strings.Cut(rest, "]")
		a, err := netip.ParseAddr(address)
		return ok && err == nil && a.Is6() && a.Zone() == "" && (port == "" || port[0] == ':' && isPort(port[1:]))
	}
	if host, port, ok := strings.Cut(text, ":"); ok {
		if !isPort(port) {
			return false
		}
		name = host
	}
	if name == "" || name[0] == '.' || name[0] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}
