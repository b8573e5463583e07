package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"example.com/publish/publish"
)

// isTerminal reports whether w is a terminal, so that a person reads it.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// moment is a time as scripts and pipes get it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// when is moment, on a terminal with the distance from now: people do not
// compute with UTC.
func (p *program) when(t time.Time) string {
	if !isTerminal(p.stdout) {
		return moment(t)
	}
	return moment(t) + " (" + publish.Distance(p.clock(), t) + ")"
}
