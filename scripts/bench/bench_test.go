//go:build linux

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the binary of the tests be the contender that only hashes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == hashesAlone {
		if err := hashes(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Every case runs on tiny trees, each with its check of what was done. Peers that
// are not installed are named. Only make check, which sets
// PUBLISH_TEST_LONG, runs it.
func TestEveryCase(t *testing.T) {
	if os.Getenv("PUBLISH_TEST_LONG") == "" {
		t.Skip("takes long: make check runs it")
	}
	dir := t.TempDir()
	bin, out, readme := filepath.Join(dir, "publish"), filepath.Join(dir, "out"), filepath.Join(dir, "README.md")
	if msg, err := exec.Command("go", "build", "-o", bin, "../../cmd/publish").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	if err := os.WriteFile(readme, []byte("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var table, log strings.Builder
	err := run(t.Context(), []string{"-publish", bin, "-incus", "../../bin/incus-simplestreams", "-scale", "0.0001",
		"-rounds", "1",
		"-dir", dir, "-out", out, "-readme", readme}, &table, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for _, line := range []string{"| stage add of an image of 10 MiB, durable | ",
		"| promote, one new image, 10 files, steady state | ", "| prune plan, 10 versions | ",
		"| promote | 10 | publish | 1 | "} {
		if !strings.Contains(table.String(), line) {
			t.Errorf("the table lacks %q:\n%s", line, &table)
		}
	}

	data, err := os.ReadFile(filepath.Join(out, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var res struct {
		Facts   []fact
		Skipped []skip
		Samples []sample
	}
	if err := json.Unmarshal(data, &res); err != nil {
		t.Fatal(err)
	}
	b := bench{samples: res.Samples, skipped: res.Skipped, scale: 0.0001}
	for _, g := range b.goals() {
		if s, _ := b.find(g.mine); s.median <= 0 {
			t.Errorf("%s: publish was not measured", g.title)
		}
		if s, _ := b.find(g.beside); s.median <= 0 && b.why(g.beside) != "not installed" {
			t.Errorf("%s: %s: %s", g.title, g.beside.contender, b.why(g.beside))
		}
	}

	svg, err := os.Open(filepath.Join(out, "cost.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer svg.Close()
	lines := 0
	for dec := xml.NewDecoder(svg); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "g" {
			lines++
		}
	}
	if lines < 6 { // with no peer but cp
		t.Errorf("the plot has %d lines", lines)
	}

	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); !strings.HasPrefix(s, "before\n<!-- bench -->\n") ||
		!strings.HasSuffix(s, "<!-- /bench -->\nafter\n") || strings.Contains(s, "old") ||
		!strings.Contains(s, "| stage add") {
		t.Errorf("README:\n%s", s)
	}
	left, err := filepath.Glob(filepath.Join(dir, "publish-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A run that is stopped, here by a command that fails, keeps what it has, and
// leaves the README alone.
func TestStopped(t *testing.T) {
	dir := t.TempDir()
	bin, out, readme := filepath.Join(dir, "publish"), filepath.Join(dir, "out"), filepath.Join(dir, "README.md")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\n[ $# = 1 ]\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(readme, []byte("<!-- bench -->\nold\n<!-- /bench -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"-publish", bin, "-scale", "0.0001", "-dir", dir, "-out", out, "-readme", readme,
		"-run", "^validate/2000"}, io.Discard, io.Discard)
	if err == nil {
		t.Error("it found no fault")
	}
	if data, err := os.ReadFile(filepath.Join(out, "results.md")); err != nil || len(data) == 0 {
		t.Errorf("results: %q, %v", data, err)
	}
	if data, err := os.ReadFile(readme); err != nil || !strings.Contains(string(data), "old") {
		t.Errorf("README: %q, %v", data, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "publish-bench-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestVerdict(t *testing.T) {
	var b bench
	add := func(contender string, size int, us ...int64) {
		for _, n := range us {
			b.samples = append(b.samples, sample{Experiment: "e", Size: size, Items: size, Contender: contender,
				WallUS: n})
		}
	}
	add(ours, 10, 300, 100, 200)
	add(ours, 100, 1000, 3000)
	add(incus, 10, 400)
	at := func(size int, contender string) pick { return at("e", size, contender) }
	for _, c := range []struct {
		goal goal
		want float64
	}{
		{goal{mine: at(10, ours), beside: at(10, incus)}, 0.5},
		{goal{mine: at(100, ours), beside: at(10, ours)}, 10},
		{goal{mine: at(100, ours), beside: at(10, ours), linear: true}, 1},
		{goal{mine: at(10, ours), beside: at(100, incus)}, 0},
	} {
		if v := b.verdict(c.goal); v.ratio < c.want*0.999 || v.ratio > c.want*1.001 {
			t.Errorf("%+v: %v, not %v", c.goal, v.ratio, c.want)
		}
	}
	if s, _ := b.find(at(10, ours)); s != (spread{200e-6, 100e-6, 300e-6, 3}) {
		t.Errorf("%+v", s)
	}
}
