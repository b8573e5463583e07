package main

import "testing"

// Each format is found by its name.
func TestFormats(t *testing.T) {
	for _, name := range formatNames() {
		if f, err := format(name); err != nil || f.Name() != name {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	if is, others := byHand("plain"); !is || others != "simplestreams or oci" {
		t.Errorf("plain: %v, %s", is, others)
	}
	if _, err := format("tar"); err == nil {
		t.Error("there is a format tar")
	}
}
