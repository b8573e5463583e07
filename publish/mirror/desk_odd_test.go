package mirror

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// As long as no answer can be written, nothing is asked for: the file would ask again.
func TestRequestUnanswerable(t *testing.T) {
	p := newPlace(t, allowed)
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	p.file("ask", "references: [hub/app:v1, other/app:v1]")
	far := syscall.Timespec{Sec: 300_000_000_000} // the year 11476, which a tmpfs has and JSON has not
	must(t, syscall.UtimesNano(p.requests("ask"), []syscall.Timespec{far, far}))
	if fi, err := os.Stat(p.requests("ask")); err != nil || fi.ModTime().Year() < 10_000 {
		t.Skip("the file system has no such time")
	}
	p.glances(2)
	if len(p.jobs()) > 0 || len(warned) != 1 || !strings.Contains(warned[0], `"ask": has a time`) {
		t.Errorf("%v %q", p.jobs(), warned)
	}
}

// The same where nothing can be written: nothing is asked for twice.
func TestRequestNoAnswers(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root writes everywhere")
	}
	p := newPlace(t, allowed)
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	p.file("ask", "references: [hub/app:v1, other/app:v1]")
	must(t, os.Mkdir(p.requests(answersIn), 0o555))
	d := p.glances(1)
	d.glance(ctx)
	if len(p.jobs()) > 0 || len(warned) == 0 {
		t.Errorf("%v %q", p.jobs(), warned)
	}
	must(t, os.Chmod(p.requests(answersIn), 0o755))
	clear(d.later) // a minute later
	d.glance(ctx)
	if a := p.answer("ask"); len(p.jobs()) != 2 || a.State != Pending || len(p.left()) > 0 {
		t.Errorf("%v %+v left %q", p.jobs(), a, p.left())
	}
}

// A file that could not be read is taken once it can be.
func TestRequestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads all")
	}
	p := newPlace(t, allowed)
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	p.file("ask", "reference: hub/app:v1")
	must(t, os.Chmod(p.requests("ask"), 0))
	d := p.glances(3)
	if len(p.jobs()) > 0 || len(warned) != 1 || !strings.Contains(warned[0], `"ask": cannot be read`) {
		t.Errorf("%v %q", p.jobs(), warned)
	}
	must(t, os.Chmod(p.requests("ask"), 0o644))
	clear(d.later) // a minute later
	d.glance(ctx)
	if len(p.jobs()) != 1 || len(p.left()) > 0 {
		t.Errorf("%v left %q", p.jobs(), p.left())
	}
}

// An answer that cannot be brought up to date is a warning, once, and not at each look.
func TestRequestNotUpdated(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root writes everywhere")
	}
	p := newPlace(t, allowed)
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	p.file("ask", "reference: hub/app:v1")
	d := p.glances(1)
	_, err := p.Queue.Cancel(ctx, p.answer("ask").ID, alice())
	must(t, err)
	must(t, os.Chmod(p.requests(answersIn), 0o555))
	for range 3 {
		d.glance(ctx)
	}
	if len(warned) != 1 {
		t.Errorf("%q", warned)
	}
	must(t, os.Chmod(p.requests(answersIn), 0o755))
	d.glance(ctx)
	if a := p.answer("ask"); a.State != Cancelled {
		t.Errorf("%+v", a)
	}
}
