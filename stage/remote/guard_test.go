package remote

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"
)

func TestKinds(t *testing.T) {
	for text, want := range map[string]kind{
		"127.0.0.1": loopback, "127.9.9.9": loopback, "::1": loopback,
		"0.0.0.0": loopback, "::": loopback, "0.1.2.3": loopback,
		"169.254.169.254": linkLocal, "fe80::1": linkLocal, "224.0.0.1": linkLocal, "ff02::1": linkLocal,
		"168.63.129.16": linkLocal,
		"10.1.2.3":      private, "172.16.0.1": private, "192.168.1.1": private, "fd00:ec2::254": private,
		"100.100.100.200": private,
		"8.8.8.8":         public, "2606:4700::1": public, "172.32.0.1": public, "100.128.0.1": public,
		"::ffff:127.0.0.1": loopback, "64:ff9b::a9fe:a9fe": linkLocal, "2002:7f00:1::": loopback,
		"fe80::1%eth0": linkLocal,
	} {
		if got := kindOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %s, want %s", text, got.words(), want.words())
		}
	}
}

// A server leads to addresses of its own kind, and to those that anybody has.
func TestLeads(t *testing.T) {
	for _, c := range []struct {
		own, to string
		want    bool
	}{
		{"8.8.8.8", "1.1.1.1", true}, {"8.8.8.8", "10.0.0.1", false}, {"8.8.8.8", "127.0.0.1", false},
		{"8.8.8.8", "localhost", false}, {"8.8.8.8", "x.localhost.", false}, {"8.8.8.8", "[::ffff:127.0.0.1]", false},
		{"8.8.8.8", "8.8.8.8:8443", true}, {"10.0.0.1", "10.0.0.2", true}, {"10.0.0.1", "127.0.0.1", false},
		{"10.0.0.1", "169.254.169.254", false}, {"127.0.0.1", "127.0.0.1:5001", true}, {"127.0.0.1", "10.0.0.1", true},
		{"127.0.0.1", "169.254.169.254", false}, {"127.0.0.1", "1.1.1.1", true},
	} {
		own, to := &url.URL{Scheme: "https", Host: c.own}, &url.URL{Scheme: "http", Host: c.to}
		g := &guard{own: map[string]bool{DialedAt(own): true}}
		if err := g.check(own); err != nil {
			t.Errorf("%s itself: %v", c.own, err)
		}
		if err := g.check(to); (err == nil) != c.want {
			t.Errorf("%s leads to %s: %v", c.own, c.to, err)
		}
	}
}

// Names are looked at after they were resolved.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused := new(refusedError)
	at := l.Addr().String()
	g := &guard{own: map[string]bool{}, connect: time.Minute}
	if _, err := g.dial(context.Background(), "tcp", at); !errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
	g.own[at] = true
	c, err := g.dial(context.Background(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	delete(g.own, at) // a second server beside the registry
	if c, err = g.dial(context.Background(), "tcp", at); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	g = &guard{own: map[string]bool{}, connect: time.Minute}
	g.through(&url.URL{Scheme: "http", Host: at})
	if c, err = g.dial(context.Background(), "tcp", at); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if g.kinds.Load() != 0 {
		t.Error("the address of a proxy counts as that of the server")
	}
}
