package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/publish/publish"
)

func TestArrange(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"status", "status --"},
		{"--json status", "--json status --"},
		{"status --json", "--json status --"},
		{"revert 3 --dry-run -m why --repo r", "--repo r revert --dry-run -m why -- 3"},
		{"revert -m=why 3", "revert -m=why -- 3"},
		{"stage add a --alias x b --repo=r --alias=y", "--repo=r stage add --alias x --alias=y -- a b"},
		{"stage --json list", "--json stage list --"},
		{"stage remove -- --json x", "stage remove -- --json x"},
		{"stage remove a -- b --json", "stage remove -- a b --json"},
		{"hold -m --force", "hold -m --force --"}, // a flag that takes a value takes the next word
		{"stage remove -", "stage remove -- -"},
		{"-json -q status", "-json -q status --"},
		{"stage", "stage"},
		{"", ""},
		{"--version", "--version"},
		{"stage ls", "stage list --"},
	} {
		p := &program{}
		got, err := arrange(p.app(), strings.Fields(test.in))
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("arrange(%q) = %q, %v; want %q", test.in, got, err, test.want)
		}
	}
	for in, want := range map[string]string{
		"frob":             "is not a command",
		"-- status":        "is not a command",
		"stage frob":       "is not a command of publish stage",
		"status --frob":    "is not a flag of publish status",
		"--dry-run gc":     "is not a flag of publish itself",
		"revert -m":        "needs a value",
		"revert -1":        "is not a flag",
		"stage add --repo": "needs a value",
	} {
		p := &program{}
		_, err := arrange(p.app(), strings.Fields(in))
		var e *publish.Error
		if !errors.As(err, &e) || e.Kind != publish.Usage || !strings.Contains(e.Error(), want) {
			t.Errorf("arrange(%q): %v; want %q", in, err, want)
		}
	}
	for in, want := range map[string][]string{"--help": nil, "promote -h": {"promote"}, "stage add x --help": {"stage",
		"add"}, "--help stage": {"stage"}} {
		p := &program{}
		_, err := arrange(p.app(), strings.Fields(in))
		var help *wantsHelp
		if !errors.As(err, &help) || !slices.Equal(help.path, want) {
			t.Errorf("arrange(%q): %v; want help for %q", in, err, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":              "plain",
		"zwei Wörter, 字":     "zwei Wörter, 字",
		"two\nlines":         "two\nlines",
		"\x1b[31mred":        `\x1b[31mred`,
		"a\tb\r":             `a\tb\r`,
		"bad \xff":           `bad \xff`,
		"real \uFFFD":        "real \uFFFD",
		"right\u202eto left": `right\u202eto left`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	in := strings.Repeat("word ", 30) + "\n\n  kept   as it is\nlast"
	got := wrap(in)
	for line := range strings.Lines(got) {
		if len(line) > 79 {
			t.Errorf("%q is too long", line)
		}
	}
	if !strings.HasSuffix(got, "\n\n  kept   as it is\nlast\n") {
		t.Errorf("got %q", got)
	}
}
