package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"example.com/publish/publish"
)

// listener is an open address, and who answers there.
type listener struct {
	net.Listener
	tls     bool
	handler http.Handler
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

// listen opens all addresses: those of systemd if it has opened sockets, else those of
// the configuration. If one cannot be opened, none stays open.
func (s *Server) listen(tls bool) (list []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				_ = l.Close()
			}
		}
	}()
	if list, err = s.inherited(); err != nil || len(list) > 0 {
		return list, needCertificate(list, tls, err)
	}
	add := func(text string, h http.Handler, mode fs.FileMode) error {
		at, err := publish.ParseListen(text)
		if err != nil {
			return err
		}
		l, err := open(at, mode)
		if err != nil {
			return &publish.Error{Path: text, Fact: "cannot be opened", Err: err,
				Hint: "serve.listen and serve.admin in publish.yaml, or --listen and --admin, name the addresses"}
		}
		list = append(list, &listener{l, at.TLS, h})
		return nil
	}
	for _, text := range s.config.Listen {
		if err := add(text, s.Public(), publicSocket); err != nil {
			return list, err
		}
	}
	if s.config.Admin != "off" {
		if err := add(s.config.Admin, s.Admin(), adminSocket); err != nil {
			return list, err
		}
	}
	return list, needCertificate(list, tls, nil)
}

// needCertificate returns an error if a listener needs a certificate and there is none.
func needCertificate(list []*listener, have bool, err error) error {
	for _, l := range list {
		if err == nil && l.tls && !have {
			err = &publish.Error{Kind: publish.Usage, Path: l.url(), Fact: "needs a certificate",
				Hint: "set serve.tls in publish.yaml, or give --tls-cert and --tls-key, or --tls-self-signed"}
		}
	}
	return err
}

// inherited returns the sockets that systemd has opened. The name of a socket
// (FileDescriptorName=) tells what it is for: one with admin in it has the metrics, one
// with https in it speaks TLS.
func (s *Server) inherited() ([]*listener, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("the sockets of systemd: %w", err)
	}
	var list []*listener
	for name, sockets := range named {
		for _, l := range sockets {
			if l == nil {
				continue
			}
			h := s.Public()
			if strings.Contains(name, "admin") {
				h = s.Admin()
			}
			list = append(list, &listener{l, strings.Contains(name, "https"), h})
		}
	}
	return list, nil
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
