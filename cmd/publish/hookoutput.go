package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// What a JSON answer keeps of the output of one hook or health check. People
// and pipes get all of it, as it comes.
const (
	maxHookLines = 100
	maxHookLine  = 1000 // bytes
)

// hookOutput returns what gets the output of one hook or health check.
func (p *program) hookOutput() io.WriteCloser {
	if p.json {
		return &hookWarnings{p: p}
	}
	return hookStream{p}
}

// hookStream shows people what a hook prints.
type hookStream struct{ p *program }

func (h hookStream) Write(b []byte) (int, error) {
	h.p.progress.end()
	return h.p.stderr.Write(b)
}

func (hookStream) Close() error { return nil }

// hookWarnings makes a warning of each line, however many pieces it comes in.
type hookWarnings struct {
	p       *program
	line    []byte // what came of the current one, up to maxHookLine
	cut     int    // bytes of it that were left out
	lines   int    // that are warnings
	skipped int    // lines that are not
}

func (h *hookWarnings) Write(b []byte) (int, error) {
	rest := b
	for {
		part, after, ended := bytes.Cut(rest, []byte{'\n'})
		room := min(len(part), maxHookLine-len(h.line))
		h.line = append(h.line, part[:room]...)
		h.cut += len(part) - room
		if !ended {
			return len(b), nil
		}
		h.end()
		rest = after
	}
}

func (h *hookWarnings) end() {
	if h.lines == maxHookLines {
		h.skipped++
	} else {
		h.lines++
		text := strings.ToValidUTF8(strings.TrimRight(string(h.line), "\r"), string(utf8.RuneError))
		if h.cut > 0 {
			text += fmt.Sprintf("... (%d bytes more)", h.cut)
		}
		h.p.warn(text)
	}
	h.line, h.cut = h.line[:0], 0
}

// Close adds a last line without an end, and says what was left out.
func (h *hookWarnings) Close() error {
	if len(h.line) > 0 {
		h.end()
	}
	if h.skipped > 0 {
		h.p.warn(fmt.Sprintf("the command printed %s more", count(h.skipped, "line")))
	}
	return nil
}
