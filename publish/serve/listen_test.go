package serve

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/publish/publish"
)

// Sockets that systemd has opened stand for serve.listen. The address for operators is
// opened beside them, unless one of them is for operators. The log has what is not used.
func TestSocketsOfSystemd(t *testing.T) {
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"], admin: "http://localhost:0"}`)
	w.promoteOne()
	w.keep()
	w.reach(1)
	socket := func(admin bool) *listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		w.no(err)
		return w.server.listener(l, false, admin)
	}
	for _, c := range []struct {
		name      string
		inherited []*listener
		want      string // p for public, a for admin, A for admin as configured
		unused    string
	}{
		{"none", nil, "pA", ""},
		{"public", []*listener{socket(false), socket(false)}, "ppA", "serve.listen"},
		{"both", []*listener{socket(false), socket(true)}, "pa", "serve.admin"},
	} {
		before := w.logged.String()
		list, err := w.server.openBeside(c.inherited)
		w.no(err)
		got := ""
		for _, l := range list {
			srv := &http.Server{Handler: l.handler}
			go func() { _ = srv.Serve(l) }()
			res, err := http.Get(l.url() + "/metrics")
			w.no(err)
			_ = res.Body.Close()
			switch {
			case res.StatusCode == 404 && !l.admin:
				got += "p"
			case res.StatusCode == 200 && !slices.Contains(c.inherited, l):
				got += "A"
			case res.StatusCode == 200:
				got += "a"
			}
			_ = srv.Close()
		}
		log := strings.TrimPrefix(w.logged.String(), before)
		if got != c.want || c.unused == "" != (log == "") || !strings.Contains(log, c.unused) {
			t.Errorf("%s: %s, want %s; %s", c.name, got, c.want, log)
		}
	}
}

// Two services with sockets would have the same address for operators, if nobody names one:
// the second goes without.
func TestUsualAddressIsTaken(t *testing.T) {
	if l, err := net.Listen("tcp", strings.TrimPrefix(publish.DefaultAdmin, "http://")); err == nil {
		defer l.Close() // else somebody else has it
	}
	w := streams(t, "symlink", `serve: {listen: ["http://127.0.0.1:0"]}`)
	w.promoteOne()
	w.keep()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.no(err)
	defer l.Close()
	list, err := w.server.openBeside([]*listener{w.server.listener(l, false, false)})
	if w.no(err); len(list) != 1 || !strings.Contains(w.logged.String(), "serve.admin") {
		t.Errorf("%d listeners; %s", len(list), w.logged.String())
	}
	if list, err = w.server.openBeside(nil); err == nil || !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	for _, l := range list {
		_ = l.Close()
	}
}
