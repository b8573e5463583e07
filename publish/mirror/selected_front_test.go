package mirror

import (
	"os"
	"strings"
	"testing"
)

// Requests by file may say what to select.
func TestSelectedByFile(t *testing.T) {
	s := newShop(t, "mirror: {address: images.example.com, requests: {directory: requests}, allow: ['**']}")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	s.sell(sold, "20260102_00:00", "d2", "d2")
	s.sell(other, "20260102_00:00", "a", "a")
	s.file("ask", "reference: '"+s.url+"#*'\nversions: 1\nfilters: [arch=amd64]\n")
	s.file("bad", "reference: '"+s.url+"#*'\nfilters: [arch]\n")
	s.once()
	a := s.answer("ask")
	const pinned = "images.example.com#" + sold + "/20260102_00:00"
	if a.State != Staged || a.References[0].Pinned != pinned {
		t.Errorf("%+v", a)
	}
	if a := s.answer("bad"); a.State != Denied || !strings.HasPrefix(a.Reason, "arch: is no filter") {
		t.Errorf("%+v", a)
	}
}

// Answers and notices have the address that the job has.
func TestSelectedAddress(t *testing.T) {
	s := newShop(t, "mirror: {address: images.example.com, requests: {directory: requests}, allow: ['**']}")
	b := &inbox{key: "a"}
	s.Receivers = []Receiver{b}
	s.sell(sold, "20260101_00:00", "d1", "d1")
	s.once()
	s.file("ask", "reference: '"+s.url+"#debian:*'\n")
	s.once()
	const want = "images.example.com#debian:*"
	if a := s.answer("ask"); a.References[0].Address != want || s.job(a.ID).Address != want {
		t.Errorf("%+v", a)
	}
	if len(b.got) != 1 || b.got[0].Address != want {
		t.Errorf("%+v", b.got)
	}
}

// A name that the lock file cannot have fails its job alone, before anything is staged.
func TestSelectedUnlockable(t *testing.T) {
	s := newShop(t, "")
	s.sell(sold, "20260101_00:00", "d1", "d1")
	s.sell(other, "20260102\x1b[31m", "a", "a")
	s.sell("hello:"+strings.Repeat("x", 1000)+":amd64", "20260102", "h", "h")
	bad, long, good := s.url+"#alpine:*", s.url+"#hello:*", s.url+"#debian:*"
	ids := s.ask(bad, long, good)
	if got := s.once(); got[bad] != "failed catalog" || got[long] != "failed catalog" || got[good] != "staged" {
		t.Errorf("%v", got)
	}
	if got := s.versions("staging"); len(got) != 1 || !strings.HasPrefix(got[0], sold) {
		t.Errorf("staging has %q", got)
	}
	if text := s.job(ids[0]).Error; !strings.HasSuffix(text, "has a control character") || strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
}

// A password in a URL, which no reference may have, is in no file that others can read.
func TestSelectedSecret(t *testing.T) {
	p := newShop(t, "mirror: {requests: {directory: requests}, allow: ['**']}")
	b := &inbox{key: "a"}
	p.Receivers = []Receiver{b}
	p.run(patient)
	p.file("ask", "references: ['https://u:hidden@hub/app#x', 'https://hub/app?token=hidden#x']")
	p.run(patient)
	for _, path := range []string{p.requests("answers", "ask.json"), p.Queue.partPath(1)} {
		data, err := os.ReadFile(path)
		must(t, err)
		if text := string(data); strings.Contains(text, "hidden") || !strings.Contains(text, "https://hub/app") {
			t.Errorf("%s: %s", path, text)
		}
	}
	for text, want := range map[string]string{"u:hidden@hub/app": "hub/app", "alpine:3@sha256:12": "alpine:3@sha256:12"} {
		if got := withoutSecrets(text); got != want {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
	for _, j := range p.jobs() {
		if strings.Contains(j.Reference+j.Error, "hidden") {
			t.Errorf("%+v", j)
		}
	}
	if got := b.told(); len(got) != 2 || strings.Contains(b.got[0].Reference+b.got[1].Reference, "hidden") {
		t.Errorf("%+v", b.got)
	}
}
