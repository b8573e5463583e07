package publish

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseConfig(t *testing.T) {
	// What says nothing means the defaults.
	for _, text := range []string{"", "# a comment\n", "---\n", "grace:\n", "grace: null\nformat: ~\n", "health_check:\n", "health_check: {timeout: }\n", "hooks:\n  # nothing\n"} {
		c, err := parseConfig([]byte(text))
		if err != nil || !reflect.DeepEqual(c, DefaultConfig()) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	c, err := parseConfig([]byte("\ufeff# one\ngrace: 1d # two\nhealth_check: {command: [\"true\"]}\n"))
	if err != nil || time.Duration(c.Grace) != 24*time.Hour || time.Duration(c.HealthCheck.Timeout) != 30*time.Second || len(c.HealthCheck.Command) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"grce: 1h\n":               `[1:1] unknown field "grce"`,
		"grce:\n":                  `[1:1] unknown field "grce"`,
		"hooks:\n  after: [x]\n":   `[2:3] unknown field "after"`,
		"grace: 1h\ngrace: 2h\n":   `[2:1] mapping key "grace" already defined`,
		"# x\ngrace: -1h\n":        `[2:8] grace: "-1h" is not a duration`,
		"grace: 3\n":               `[1:8] grace: "3" is not a duration`,
		"grace: [\n":               "[1:8]",
		"- x\n":                    "[1:1]",
		"grace: 1h\n---\na: b\n":   "2 documents",
		"format: iso\n":            `format: "iso" is not one of`,
		"production: staging/x\n":  "place of the repository's own",
		"generations: {keep: -1}":  "-1 is negative",
		"switch: cp\nshare: all\n": `share: "all" is not one of`,
	} {
		if _, err := parseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, test := range []struct {
		err  *Error
		want string
	}{
		{&Error{Path: "p", Fact: "f", Err: errDamaged}, "p: f: the manifest is damaged"},
		{&Error{Path: "p", Err: errDamaged}, "p: the manifest is damaged"},
		{&Error{Fact: "f"}, "f"},
		{&Error{Err: errDamaged}, "the manifest is damaged"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
