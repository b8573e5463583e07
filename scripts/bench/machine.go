//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fact is something about the machine or a program that a reader has to know.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// facts finds out what the numbers depend on.
func (b *bench) facts() ([]fact, error) {
	version, err := b.do(command{argv: []string{b.bin, "--version"}})
	if err != nil {
		return nil, err
	}
	facts := []fact{
		{"publish", strings.TrimPrefix(firstLine(version), "publish ")},
		{"date", time.Now().UTC().Format(time.DateOnly)},
		{"CPU", fmt.Sprintf("%s, %d cores", cpuModel(), runtime.NumCPU())},
		{"memory", fmt.Sprintf("%d MiB", memory()>>20)},
		{"kernel", kernel()},
		{"file system", b.fileSystem()},
		{"scale", fmt.Sprint(b.scale)},
	}
	var s sample
	if err := b.settle(); err != nil {
		return nil, err
	}
	if _, err := s.run(b.ctx, command{argv: []string{"true"}}, nil); err != nil {
		return nil, err
	}
	facts = append(facts, fact{"peak memory of true(1) here", fmt.Sprintf("%.1f MiB", float64(s.PeakBytes)/(1<<20))})
	for _, p := range []struct{ name, flag string }{{"ostree", "--version"}, {"aptly", "version"},
		{"rsync", "--version"}, {"cp", "--version"}, {"openssl", "version"}} {
		value := b.missing(p.name)
		if value == "" {
			out, err := exec.Command(p.name, p.flag).CombinedOutput()
			if value = versionIn(out); err != nil {
				value = err.Error()
			}
		}
		facts = append(facts, fact{p.name, value})
	}
	value := b.missing(b.incus)
	if value == "" {
		value = moduleVersion(b.incus)
	}
	return append(facts, fact{incus, value}), nil
}

func firstLine(out []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return string(line)
}

// versionIn finds what looks like a version in what a program says of itself.
func versionIn(out []byte) string {
	for _, word := range strings.Fields(string(out)) {
		if word = strings.Trim(word, "'(),"); word != "" && '0' <= word[0] && word[0] <= '9' &&
			strings.Contains(word, ".") {
			return word
		}
	}
	return firstLine(out)
}

// moduleVersion is the version of the Go module that a binary was built from.
func moduleVersion(bin string) string {
	out, err := exec.Command("go", "version", "-m", bin).Output()
	if err != nil {
		return "of unknown version"
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 && (f[0] == "dep" || f[0] == "mod") &&
			strings.HasPrefix(f[1], "github.com/lxc/incus") {
			return f[2]
		}
	}
	return "of unknown version"
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// fileSystem is the type of that with the data, and whether it reflinks.
func (b *bench) fileSystem() string {
	kind, at := "unknown", ""
	data, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 2 && len(f[1]) >= len(at) && (f[1] == "/" || b.dir == f[1] || strings.HasPrefix(b.dir, f[1]+"/")) {
			at, kind = f[1], f[2]
		}
	}
	if b.reflinks() {
		return kind + ", reflinks"
	}
	return kind + ", does not reflink"
}

func (b *bench) reflinks() bool {
	from, err := os.CreateTemp(b.dir, "from-")
	if err != nil {
		return false
	}
	defer from.Close()
	to, err := os.CreateTemp(b.dir, "to-")
	if err != nil {
		return false
	}
	defer to.Close()
	if _, err := from.WriteString("reflink"); err != nil {
		return false
	}
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil
}
