package publish

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestParseConfig(t *testing.T) {
	// What says nothing means the defaults.
	for _, text := range []string{"", "# a comment\n", "---\n", "grace:\n", "grace: null\nformat: ~\n",
		"health_check:\n", "health_check: {timeout: }\n", "hooks:\n  # nothing\n"} {
		c, _, err := parseConfig([]byte(text), choices)
		if err != nil || !reflect.DeepEqual(c, DefaultConfig(choices)) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	c, _, err := parseConfig([]byte("\ufeff# one\ngrace: 1d # two\nhealth_check: {command: [\"true\"]}\n"), choices)
	if err != nil || time.Duration(c.Grace) != 24*time.Hour || time.Duration(c.HealthCheck.Timeout) != 30*time.Second ||
		len(c.HealthCheck.Command) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"grce: 1h\n":                `line 1: unknown key "grce"`,
		"grce:\n":                   `line 1: unknown key "grce"`,
		"hooks:\n  after: [x]\n":    `line 2: unknown key "after"`,
		"grace: 1h\ngrace: 2h\n":    `line 2: mapping key "grace" already defined at line 1`,
		"# x\ngrace: -1h\n":         `line 2, column 8: "-1h" is not a duration`,
		"grace: 3\n":                `line 1, column 8: "3" is not a duration`,
		"grace: [\n":                "line 1: did not find",
		"- x\n":                     "line 1: does not hold keys and values",
		"grace: 1h\n---\na: b\n":    "line 3: a second document begins",
		"format: iso\n":             `format: "iso" is not one of`,
		"generations: {keep: -1}":   "-1 is negative",
		"grace: [1h]\n":             "line 1, column 8: a list or mapping is not a duration",
		"format: [oci]\n":           "line 1: a list, where text is expected",
		"hooks: {before_switch: x}": `line 1: "x", where a list is expected`,
		"promote: {prune: 3}":       `line 1: "3", where true or false is expected`,
		"hooks: on":                 `line 1: "on", where a mapping is expected`,
		"grace: !!str 1h":           "line 1: !!str: a tag has no meaning here",
		"grce: 1\nshre: 2\n":        "line 2: unknown key \"shre\"",
		"switch: cp\nshare: all\n":  `share: "all" is not one of`,
		"share: all\nswitch: cp\n":  `switch: "cp" is not one of symlink, rename`,

		`serve: {default_namespace: "a b/../c"}`: `serve.default_namespace: "a b/../c" is no name such as`,
		`serve: {default_namespace: "a/../c"}`:   `serve.default_namespace: "a/../c" is no name such as`,
		`serve: {default_namespace: "/a"}`:       `serve.default_namespace: "/a" is no name such as`,
		"serve: {compress: [gzip, gzip]}":        "serve.compress: names gzip twice",
		"serve: {public_url: 'https://u:p@h/'}":  "serve.public_url: has a user name in it",
	} {
		if _, _, err := parseConfig([]byte(text), choices); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

// What the key serve may say, beside the defaults.
func TestParseServe(t *testing.T) {
	for _, text := range []string{"default_namespace: ''", "default_namespace: 'Host:5000/a_b/c-d'", "compress: []",
		"compress: [gzip, zstd]", "public_url: 'https://images.example.com/base/'"} {
		if _, _, err := parseConfig([]byte("serve: {"+text+"}"), choices); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, _, err := parseConfig([]byte("serve: {public_url: 'ftp://me:secret@h/'}"), choices)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the message has the password: %v", err)
	}
}

// The cost of a document is bounded, whatever it contains.
func TestParseConfigHostile(t *testing.T) {
	bomb := "in_use: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("x%d: &a%d [%s]\n", i, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 9),
			", "))
	}
	for name, text := range map[string]string{
		"flow":      "retention: " + strings.Repeat("[", 40_000),
		"flow maps": "retention: " + strings.Repeat("{a: ", 40_000),
		"closed":    "in_use: " + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000),
		"block":     "in_use:\n" + strings.Repeat("- ", 40_000) + "x",
		"deep":      "in_use: " + strings.Repeat("[", 40) + strings.Repeat("]", 40),
		"bomb":      bomb,
		"itself":    "in_use: &a [*a]\n",
		"many":      "grace: 1h\n" + strings.Repeat("---\n", 10_000) + "grace: 1h",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := parseConfig([]byte(text), choices)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s: %d MiB were allocated: %v", name, used>>20, err)
		}
	}
}

// The admin address is not one for clients, unless the system chooses the port of each.
func TestAdminAddress(t *testing.T) {
	for at, ok := range map[string]bool{"http://127.0.0.1:0": true, "https://[::1]:0/": true,
		"http://127.0.0.1:8080": false, "http://127.0.0.1": false, "unix:/run/a:0": false} {
		var c ServeConfig
		c.setDefaults()
		c.Listen, c.Admin = []string{at}, at
		if err := c.Check(); (err == nil) != ok {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// A user in the URL of a registry would go to logs; there is a file for that.
func TestMirrorEndpointUser(t *testing.T) {
	c := MirrorConfig{Registries: map[string]RegistryConfig{"hub.example.com": {
		Endpoints: []string{"https://joe:hunter2@10.0.0.5"}}}}
	c.setDefaults()
	err := c.Check()
	if err == nil || !strings.Contains(err.Error(), "has a user") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
