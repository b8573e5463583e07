package mirror

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestHosts(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "mirror", "hosts.json")
	h, other := OpenHosts(path, c.now), OpenHosts(path, c.now)
	if _, ok := h.Wait("docker.io"); ok {
		t.Error("a host waits that nobody blocked")
	}
	if _, err := os.Lstat(filepath.Dir(path)); err == nil {
		t.Error("reading made a directory")
	}
	start := c.now()
	must(t, h.Block("docker.io", start.Add(time.Hour), "rate-limit"))
	must(t, other.Block("docker.io", start.Add(time.Minute), "rate-limit")) // it makes no hold shorter
	must(t, other.Block("ghcr.io", start.Add(time.Minute), "503"))
	must(t, other.Block("quay.io", start.Add(1000*time.Hour), "rate-limit"))
	for _, q := range []*Hosts{h, other, OpenHosts(path, c.now)} {
		for host, want := range map[string]time.Duration{"docker.io": time.Hour, "ghcr.io": time.Minute, "quay.io": MaxHold} {
			if until, ok := q.Wait(host); !ok || !until.Equal(start.Add(want)) {
				t.Errorf("%s waits until %v, %t", host, until, ok)
			}
		}
	}
	c.move(time.Minute)
	if _, ok := h.Wait("ghcr.io"); ok {
		t.Error("a hold does not end")
	}
	if all := h.All(); len(all) != 2 || all["docker.io"].Reason != "rate-limit" {
		t.Errorf("all holds: %v", all)
	}
	must(t, h.Block("x", c.now().Add(-time.Minute), ""))
	if all := OpenHosts(path, c.now).All(); len(all) != 2 {
		t.Errorf("all holds: %v", all)
	}
}

func TestHostsClockSetBack(t *testing.T) {
	for _, c := range []struct {
		name string
		back time.Duration
		want time.Duration // that the host then waits
	}{
		{"not", 0, time.Hour},
		{"a little", time.Second, time.Hour + time.Second},
		{"a day", 24 * time.Hour, time.Hour},
		{"years", 100000 * time.Hour, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := newClock()
			path := filepath.Join(t.TempDir(), "hosts.json")
			must(t, OpenHosts(path, clock.now).Block("a", clock.now().Add(time.Hour), ""))
			clock.move(-c.back)
			h := OpenHosts(path, clock.now)
			if until, ok := h.Wait("a"); !ok || !until.Equal(clock.now().Add(c.want)) {
				t.Errorf("it waits until %v, now is %v", until, clock.now())
			}
			clock.move(c.want - time.Second)
			if _, ok := h.Wait("a"); !ok {
				t.Error("it waits too short")
			}
			clock.move(time.Second)
			for _, h := range []*Hosts{h, OpenHosts(path, clock.now)} {
				if until, ok := h.Wait("a"); ok {
					t.Errorf("it still waits until %v", until)
				}
			}
		})
	}
}

func TestHostsDamaged(t *testing.T) {
	c := newClock()
	for name, text := range map[string]string{"zeros": "\x00\x00\x00", "null": "null", "a list": "[]", "nothing": "",
		"far away": `{"a":{"until":"9000-01-01T00:00:00Z"}}`, "no time": `{"a":{}}`} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hosts.json")
			must(t, os.WriteFile(path, []byte(text), 0o644))
			h := OpenHosts(path, c.now)
			if until, ok := h.Wait("a"); ok && until.After(c.now().Add(MaxHold)) {
				t.Errorf("it waits until %v", until)
			}
			must(t, h.Block("b", c.now().Add(time.Minute), ""))
			if _, ok := OpenHosts(path, c.now).Wait("b"); !ok {
				t.Error("no host can be blocked")
			}
		})
	}
}

func TestHostsAtOnce(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "hosts.json")
	var all sync.WaitGroup
	hosts := []string{"a", "b", "c", "d", "e", "f"}
	for _, host := range hosts {
		all.Go(func() {
			h := OpenHosts(path, c.now)
			if err := h.Block(host, c.now().Add(time.Hour), ""); err != nil {
				t.Error(err)
			}
			h.Wait(host)
		})
	}
	all.Wait()
	if got := OpenHosts(path, c.now).All(); len(got) != len(hosts) {
		t.Errorf("held are %v", got)
	}
}
