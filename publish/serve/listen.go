package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"example.com/publish/publish"
)

// listener is an open address, and who answers there.
type listener struct {
	net.Listener
	tls, admin bool
	handler    http.Handler
}

// url is the address as people write it.
func (l *listener) url() string {
	a := l.Addr()
	switch {
	case a.Network() == "unix":
		return "unix:" + a.String()
	case l.tls:
		return "https://" + a.String()
	}
	return "http://" + a.String()
}

// listen opens all addresses: see openBeside. If one cannot be opened, none stays open.
func (s *Server) listen(tls bool) (list []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				_ = l.Close()
			}
		}
	}()
	if list, err = s.inherited(); err != nil {
		return list, err
	}
	if list, err = s.openBeside(list); err != nil {
		return list, err
	}
	return list, needCertificate(list, tls)
}

// openBeside opens the addresses of the configuration beside the sockets that systemd has
// opened. If there are any of these, they are the public ones, and if one of them is for
// operators, it is the only one.
func (s *Server) openBeside(list []*listener) ([]*listener, error) {
	public, admin := s.config.Listen, s.config.Admin
	inherited := len(list) > 0
	if inherited {
		if !slices.Equal(public, []string{publish.DefaultListen}) {
			s.log.Warn("systemd has opened the sockets; serve.listen and --listen are not used", "addresses", public)
		}
		public = nil
	}
	if slices.ContainsFunc(list, func(l *listener) bool { return l.admin }) {
		if admin != publish.DefaultAdmin && admin != "off" {
			s.log.Warn("systemd has opened a socket for operators; serve.admin and --admin are not used", "address", admin)
		}
		admin = "off"
	}
	for _, text := range public {
		l, err := s.open(text, false)
		if err != nil {
			return list, err
		}
		list = append(list, l)
	}
	if admin == "off" {
		return list, nil
	}
	l, err := s.open(admin, true)
	switch {
	case err == nil:
		return append(list, l), nil
	case inherited && admin == publish.DefaultAdmin && errors.Is(err, syscall.EADDRINUSE):
		// Another service has it. Nobody asked for this address, and clients wait.
		s.log.Warn("there is no address for operators: the usual one is taken; serve.admin names another", "address", admin)
		return list, nil
	}
	return list, err
}

// open opens an address of the configuration.
func (s *Server) open(text string, admin bool) (*listener, error) {
	at, err := publish.ParseListen(text)
	if err != nil {
		return nil, err
	}
	mode := publicSocket
	if admin {
		mode = adminSocket
	}
	l, err := open(at, mode)
	if err != nil {
		return nil, &publish.Error{Path: text, Fact: "cannot be opened", Err: err,
			Hint: "serve.listen and serve.admin in publish.yaml, or --listen and --admin, name the addresses"}
	}
	return s.listener(l, at.TLS, admin), nil
}

func (s *Server) listener(l net.Listener, tls, admin bool) *listener {
	if admin {
		return &listener{l, tls, true, s.Admin()}
	}
	return &listener{l, tls, false, s.Public()}
}

// needCertificate returns an error if a listener needs a certificate and there is none.
func needCertificate(list []*listener, have bool) error {
	for _, l := range list {
		if l.tls && !have {
			return &publish.Error{Kind: publish.Usage, Path: l.url(), Fact: "needs a certificate",
				Hint: "set serve.tls in publish.yaml, or give --tls-cert and --tls-key, or --tls-self-signed"}
		}
	}
	return nil
}

// inherited returns the sockets that systemd has opened, those for operators last. The name
// of a socket (FileDescriptorName=) tells what it is for: one with admin in it has the
// metrics, one with https in it speaks TLS.
func (s *Server) inherited() ([]*listener, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("the sockets of systemd: %w", err)
	}
	var public, operators []*listener
	for _, name := range slices.Sorted(maps.Keys(named)) {
		for _, l := range named[name] {
			switch https := strings.Contains(name, "https"); {
			case l == nil:
			case strings.Contains(name, "admin"):
				operators = append(operators, s.listener(l, https, true))
			default:
				public = append(public, s.listener(l, https, false))
			}
		}
	}
	return append(public, operators...), nil
}

// Modes of sockets in the file system. Who connects has to be able to write to it. The umask
// of a service usually leaves that to its own user, and a proxy in front is another one.
const (
	publicSocket fs.FileMode = 0o666 // as systemd makes sockets; the folder may still keep people out
	adminSocket  fs.FileMode = 0o660
)

// open listens at an address; a socket in the file system gets a mode. One that a killed
// server left is removed.
func open(at publish.Listen, mode fs.FileMode) (net.Listener, error) {
	l, err := net.Listen(at.Network, at.Address)
	if at.Network == "unix" && errors.Is(err, syscall.EADDRINUSE) && abandoned(at.Address) {
		if err := os.Remove(at.Address); err != nil {
			return nil, err
		}
		l, err = net.Listen(at.Network, at.Address)
	}
	if err != nil || at.Network != "unix" {
		return l, err
	}
	if err := os.Chmod(at.Address, mode); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// abandoned reports whether a path is a socket where nobody listens.
func abandoned(path string) bool {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}
