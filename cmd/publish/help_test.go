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
	var walk func(path string, commands []*command)
	check := func(path string, flags []cli.Flag) {
		for _, f := range flags {
			s := specOf(f)
			if s.usage == "" || s.value == "VALUE" || strings.Contains(s.usage, "`") {
				t.Errorf("%s %s: %+v", path, s.names, s)
			}
		}
	}
	walk = func(path string, commands []*command) {
		for _, c := range commands {
			if c.Hidden {
				continue
			}
			if c.Usage == "" || strings.HasSuffix(c.Usage, ".") {
				t.Errorf("%s %s: usage %q", path, c.Name, c.Usage)
			}
			if path == "publish" && c.Category == "" {
				t.Errorf("%s: is in no group of publish help", c.Name)
			}
			check(path+" "+c.Name, c.Flags)
			if n := len(c.examples); len(c.subs) == 0 && (n < 1 || n > 2) {
				t.Errorf("%s %s: has %d examples", path, c.Name, n)
			}
			for name := range c.values {
				if f := flagNamed(c.Flags, name); f == nil || !takesValue(f) {
					t.Errorf("%s %s: completes --%s, and has no such flag with a value", path, c.Name, name)
				}
			}
			walk(path+" "+c.Name, c.subs)
		}
	}
	p := &program{}
	check("publish", p.app().Flags)
	walk("publish", p.commands())
}
