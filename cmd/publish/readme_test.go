package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeTour runs the commands of the README's tour, in one shell and an
// empty directory, and holds their output against what the README shows. With
// UPDATE_README=1 it writes the output into the README instead.
func TestReadmeTour(t *testing.T) {
	for _, tool := range []string{"bash", "tar", "xz"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	const readme = "../../README.md"
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatchIndex(string(text), -1)
	if len(blocks) < 5 {
		t.Fatalf("the README has %d blocks of commands", len(blocks))
	}
	bin := filepath.Join(t.TempDir(), "bin")
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "publish"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	home := filepath.Join(t.TempDir(), "me")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	// Each command is echoed behind a mark, so that its output can be told.
	const mark = "\x01"
	var script strings.Builder
	for _, b := range blocks {
		for line := range strings.Lines(string(text[b[2]:b[3]])) {
			if cmd, ok := strings.CutPrefix(line, "$ "); ok {
				script.WriteString("printf '" + mark + "\\n'\n" + cmd)
			}
		}
	}
	cmd := exec.Command("bash")
	cmd.Dir = home
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	outputs := strings.Split(strings.ReplaceAll(string(out), home, "/home/me"), mark+"\n")[1:]

	var fresh strings.Builder
	at, n := 0, 0
	for _, b := range blocks {
		fresh.Write(text[at:b[2]])
		for line := range strings.Lines(string(text[b[2]:b[3]])) {
			if strings.HasPrefix(line, "$ ") {
				fresh.WriteString(line + outputs[n])
				n++
			}
		}
		at = b[3]
	}
	fresh.Write(text[at:])
	if os.Getenv("UPDATE_README") != "" {
		if err := os.WriteFile(readme, []byte(fresh.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want, got := varying(string(text)), varying(fresh.String()); want != got {
		t.Errorf("the README shows other output than its commands print; UPDATE_README=1 go test -run Tour ./cmd/publish writes it anew.\nwant:\n%s\ngot:\n%s", want, got)
	}
}

// varying replaces what differs from run to run.
func varying(s string) string {
	for _, r := range [][2]string{
		{`[0-9a-f]{64}`, "HASH"},
		{`[0-9a-f]{12}\b`, "HASH"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`HASH\.(incus|root)\.tar\.xz`, "HASH.FILE"}, // sorted by hashes, which vary
		{`(?m)^### \d\d:\d\d`, "### CLOCK"},
		{`(?m)^By \w+`, "By WHO"},
		{`[\d.]+ (B|KiB|MiB)`, "SIZE"},
		{`\b([\d.]+(h|m|ms|s))+\b`, "TOOK"},
		{`by \w+ since`, "by WHO since"},
		{`(?m)^(TIME +[a-z]+ +\S+ +\S+ +)\S+`, "${1}WHO"},
		{` +`, " "},
	} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return s
}
