package store

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/storetest"
)

// certified starts a server with a certificate of its own, valid around now, for a host. It
// returns the file with that certificate, and counts the requests that arrive.
func certified(t *testing.T, from, to time.Duration, host string) (endpoint, bundle string, arrived *atomic.Int32) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a store"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to), IsCA: true, BasicConstraintsValid: true}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	arrived = &atomic.Int32{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		http.NotFound(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	bundle = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return server.URL, bundle, arrived
}

// What is wrong with the line to the store is said before anything is sent, with what to set.
func TestTLS(t *testing.T) {
	for name, test := range map[string]struct {
		from, to time.Duration
		host     string
		trusted  bool
		change   func(endpoint string) string
		code     string // the store's, or ours
		hint     string // "": the request arrives
	}{
		"trusted": {from: -time.Hour, to: time.Hour, trusted: true},
		"unknown authority": {from: -time.Hour, to: time.Hour, code: "TLS",
			hint: "install its authority, or name it in SSL_CERT_FILE or AWS_CA_BUNDLE"},
		"expired":       {from: -2 * time.Hour, to: -time.Hour, trusted: true, code: "TLS", hint: "has expired"},
		"not yet valid": {from: time.Hour, to: 2 * time.Hour, trusted: true, code: "TLS", hint: "clock of this machine"},
		"another host": {from: -time.Hour, to: time.Hour, host: "store.example.com", trusted: true, code: "TLS",
			hint: "for another host: look at s3.endpoint"},
		"http to https": {from: -time.Hour, to: time.Hour, trusted: true, hint: "write https:// in s3.endpoint",
			change: func(s string) string { return strings.Replace(s, "https:", "http:", 1) }},
	} {
		t.Run(name, func(t *testing.T) {
			if test.host == "" {
				test.host = "127.0.0.1"
			}
			endpoint, bundle, arrived := certified(t, test.from, test.to, test.host)
			(&storetest.Server{AccessKey: "key", Secret: "secret"}).Setenv(t)
			if test.trusted {
				t.Setenv("AWS_CA_BUNDLE", bundle)
			}
			if test.change != nil {
				endpoint = test.change(endpoint)
			}
			s := open(t, &storetest.Server{Bucket: "images", Region: "us-east-1"}, endpoint)
			if test.hint == "" {
				_, err := s.Get(t.Context(), "x", bucket.Get{})
				if is(t, err, bucket.ErrNotFound); arrived.Load() != 1 {
					t.Errorf("%d requests arrive", arrived.Load())
				}
				return
			}
			if test.change != nil {
				// What has a body is not tried: the server answers and closes before it has read that, so
				// the connection may be reset before the answer is read.
				_, err := s.Get(t.Context(), "x", bucket.Get{})
				refused(t, err, test.code, test.hint)
				return
			}
			each(t, s, func(t *testing.T, err error) { t.Helper(); refused(t, err, test.code, test.hint) })
			if arrived.Load() != 0 {
				t.Errorf("%d requests arrive", arrived.Load())
			}
		})
	}
	t.Run("no bundle", func(t *testing.T) {
		(&storetest.Server{AccessKey: "key", Secret: "secret"}).Setenv(t)
		t.Setenv("AWS_CA_BUNDLE", filepath.Join(t.TempDir(), "none.pem"))
		_, err := Open(t.Context(), Config{Bucket: "images", Endpoint: "https://store.example.com", Region: "eu"})
		if err == nil || !strings.Contains(err.Error(), "none.pem") {
			t.Error(err)
		}
	})
}
