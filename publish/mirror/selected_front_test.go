package mirror

import (
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

// What was selected is promoted when the queue is dry.
func TestSelectedDrained(t *testing.T) {
	s := newShop(t, drained)
	s.sell(sold, "20260101_00:00", "d1", "d1")
	ref := s.url + "#*"
	s.ask(ref)
	if got := s.once(); got[ref] != "published" || len(s.promotes()) != 1 {
		t.Errorf("%v %q", got, s.promotes())
	}
}
