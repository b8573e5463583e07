package main

import "testing"

// Each format has the name under which the table lists it.
func TestFormats(t *testing.T) {
	for _, f := range formats {
		if f.format != nil && f.format.Name() != f.name {
			t.Errorf("%s is called %s", f.name, f.format.Name())
		}
	}
	if is, others := byHand("plain"); !is || others != "simplestreams" {
		t.Errorf("plain: %v, %s", is, others)
	}
	if _, err := format("oci"); err == nil {
		t.Error("this version has oci")
	}
}
