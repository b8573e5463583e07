package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"example.com/publish/publish"
)

// checkCertificates is how often the files of the certificate are looked at.
const checkCertificates = 10 * time.Second

// certificates has the certificate that new connections get. Only refresh changes it, and
// one goroutine calls that. A nil *certificates has none.
type certificates struct {
	cert, key string // files; "" for a certificate that was made here
	seen      [2]fileState
	current   atomic.Pointer[tls.Certificate]
}

// fileState tells whether a file may have changed.
type fileState struct {
	size  int64
	mtime time.Time
}

// certificates reads the certificate that the configuration names, or makes one; nil if
// there is none.
func (s *Server) certificates(selfSigned bool) (*certificates, error) {
	conf := s.config.TLS
	c := &certificates{}
	switch {
	case selfSigned:
		pair, err := s.makeCertificate()
		if err != nil {
			return nil, err
		}
		c.current.Store(pair)
		return c, nil
	case conf.Cert == "":
		return nil, nil
	}
	at := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(s.repo.Dir, p)
	}
	c.cert, c.key = at(conf.Cert), at(conf.Key)
	c.seen = c.look()
	if err := c.read(); err != nil {
		return nil, &publish.Error{Kind: publish.Usage, Path: c.cert, Err: err,
			Hint: "serve.tls in publish.yaml, or --tls-cert and --tls-key, name files in PEM that belong together"}
	}
	return c, nil
}

func (c *certificates) look() (out [2]fileState) {
	for i, p := range []string{c.cert, c.key} {
		if fi, err := os.Stat(p); err == nil {
			out[i] = fileState{fi.Size(), fi.ModTime()}
		}
	}
	return out
}

func (c *certificates) read() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil {
		c.current.Store(&pair)
	}
	return err
}

// refresh reads the files anew if they changed, or if it must. A pair that is broken, as
// while it is being replaced, leaves the old one in place.
func (c *certificates) refresh(log *slog.Logger, must bool) {
	if c == nil || c.cert == "" {
		return
	}
	now := c.look()
	if now == c.seen && !must {
		return
	}
	c.seen = now
	if err := c.read(); err != nil {
		log.Error("the certificate cannot be read; the old one stays", "cert", c.cert, "error", err)
		return
	}
	log.Info("certificate", "until", c.until().UTC().Format(time.RFC3339))
}

// until is when the certificate ends.
func (c *certificates) until() time.Time {
	if c == nil || c.current.Load().Leaf == nil {
		return time.Time{}
	}
	return c.current.Load().Leaf.NotAfter
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil }}
}

// makeCertificate makes a certificate for the addresses of the configuration and the name
// of this machine. It is for trying things out.
func (s *Server) makeCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "publish serve"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
	if name, err := os.Hostname(); err == nil {
		t.DNSNames = append(t.DNSNames, name)
	}
	for _, text := range s.config.Listen {
		at, err := publish.ParseListen(text)
		if err != nil || at.Network != "tcp" {
			continue
		}
		host, _, _ := net.SplitHostPort(at.Address)
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if host != "" {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
