package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

// The annotated publish.yaml means what an empty one means, and names every key.
func TestAnnotatedConfig(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, publish.ConfigName), []byte(annotatedConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := publish.LoadConfig(dir, choices())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(publish.DefaultConfig(choices()), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the annotated configuration is not the default (-default +annotated):\n%s", diff)
	}
	var keys func(v reflect.Type)
	keys = func(v reflect.Type) {
		for i := range v.NumField() {
			f := v.Field(i)
			key := f.Tag.Get("yaml")
			if !regexp.MustCompile(`(?m)^[ #]*` + key + `:`).MatchString(annotatedConfig) {
				t.Errorf("the key %s is missing", key)
			}
			if f.Type.Kind() == reflect.Struct {
				keys(f.Type)
			}
		}
	}
	keys(reflect.TypeFor[publish.Config]())
}

// Every command and flag is explained, with a word for each value.
func TestEverythingIsExplained(t *testing.T) {
	var walk func(path string, commands []*cli.Command)
	shown := map[string]bool{}
	check := func(path string, flags []cli.Flag) {
		for _, f := range flags {
			s := specOf(f)
			if s.usage == "" || s.value == "VALUE" || strings.Contains(s.usage, "`") {
				t.Errorf("%s %s: %+v", path, s.names, s)
			}
		}
	}
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			if c.Hidden {
				continue
			}
			if c.Usage == "" || strings.HasSuffix(c.Usage, ".") {
				t.Errorf("%s %s: usage %q", path, c.Name, c.Usage)
			}
			check(path+" "+c.Name, c.Flags)
			name := strings.TrimPrefix(path+" "+c.Name, "publish ")
			shown[name] = true
			if n := len(examples[name]); len(c.Subcommands) == 0 && (n < 1 || n > 2) {
				t.Errorf("%s: has %d examples", name, n)
			}
			walk(path+" "+c.Name, c.Subcommands)
		}
	}
	app := (&program{}).app()
	check("publish", app.Flags)
	walk("publish", app.Commands)
	for name := range examples {
		if !shown[name] {
			t.Errorf("%s: has examples, and is no command", name)
		}
	}
}
