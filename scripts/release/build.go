package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// build compiles the program for an architecture. Without -trimpath the binary names the folders
// of this machine, and -buildid= takes out a hash that differs with them.
func (r release) build(ctx context.Context, arch, to string) error {
	return r.compile(ctx, to, "GOOS=linux", "GOARCH="+arch)
}

func (r release) compile(ctx context.Context, to string, env ...string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags",
		"-s -w -buildid= -X main.version="+r.tag, "-o", to, "./cmd/publish")
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.source, os.Stderr, os.Stderr
	// What the environment says about the instructions of the processor would be in the binary.
	cmd.Env = append(os.Environ(), append(env, "CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0",
		"GOEXPERIMENT=")...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build for %s: %w", strings.Join(env, " "), err)
	}
	return nil
}

// generated is what the program itself prints for its packages, and what its modules say.
type generated struct {
	pages       map[string]string // manual pages, by the name of their file
	completions map[string]string // by the name of the shell
	notices     string            // the licenses of all that is linked in
	changelog   string            // CHANGELOG.md
	license     string            // LICENSE
	readme      string            // README.md
	units       map[string]string // by the name of the unit, with /usr/bin
	rules       string            // for Prometheus
}

// generate builds the program for this machine, and asks it.
func (r release) generate(ctx context.Context, work string) (g generated, err error) {
	bin := filepath.Join(work, "publish")
	if err := r.compile(ctx, bin, "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH); err != nil {
		return g, err
	}
	g.pages, g.completions = map[string]string{}, map[string]string{}
	prints := func(args ...string) string {
		cmd := exec.CommandContext(ctx, bin, args...)
		cmd.Stderr = os.Stderr
		out, failed := cmd.Output()
		if failed != nil && err == nil {
			err = fmt.Errorf("publish %s: %w", strings.Join(args, " "), failed)
		}
		return string(out)
	}
	read := func(names ...string) string {
		data, failed := os.ReadFile(filepath.Join(append([]string{r.source}, names...)...))
		if failed != nil && err == nil {
			err = failed
		}
		return string(data)
	}
	g.pages["publish.1"] = prints("man")
	topics, err := filepath.Glob(filepath.Join(r.source, "cmd/publish/guide/*.md"))
	if err != nil {
		return g, err
	}
	for _, path := range topics {
		topic := strings.TrimSuffix(filepath.Base(path), ".md")
		g.pages["publish-"+topic+".7"] = prints("man", topic)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		g.completions[shell] = prints("completion", shell)
	}
	if g.units, err = r.units(); err != nil {
		return g, err
	}
	g.changelog, g.license, g.readme = read("CHANGELOG.md"), read("LICENSE"), read("README.md")
	g.rules = read("scripts/prometheus/publish.rules.yml")
	if err != nil {
		return g, err
	}
	g.notices, err = r.notices(ctx)
	return g, err
}

// units are those of systemd, with the program where packages have it.
func (r release) units() (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(r.source, "scripts/systemd/*@.*"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out[filepath.Base(path)] = strings.ReplaceAll(string(data), "/usr/local/bin/", "/usr/bin/")
	}
	return out, nil
}

// notices are the licenses of the modules that are linked in, and of Go: most of them ask that
// they come with the binary.
func (r release) notices(ctx context.Context) (string, error) {
	root, err := r.output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return "", err
	}
	version, err := r.output(ctx, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	list, err := r.output(ctx, "go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/publish")
	if err != nil {
		return "", err
	}
	lines := strings.Split(list, "\n")
	slices.Sort(lines)
	lines = slices.DeleteFunc(slices.Compact(lines), func(l string) bool { return l == "" })
	var b strings.Builder
	b.WriteString("publish is one static binary. It contains these works, each under its own license.\n")
	for _, line := range append([]string{"Go " + version + "\t" + root}, lines...) {
		name, dir, _ := strings.Cut(line, "\t")
		texts, err := licenses(dir)
		if err != nil {
			return "", err
		}
		if len(texts) == 0 {
			return "", fmt.Errorf("%s: has no license in %s: it may not be distributed", name, dir)
		}
		fmt.Fprintf(&b, "\n%s\n%s\n\n", strings.Repeat("=", 80), name)
		b.WriteString(strings.Join(texts, "\n"))
	}
	return b.String(), nil
}

// licenses are the texts at the top of a module that say under what terms it may be used.
func licenses(dir string) (texts []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		upper := strings.ToUpper(e.Name())
		if e.IsDir() || strings.HasSuffix(upper, ".GO") || !slices.ContainsFunc(
			[]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS", "UNLICENSE"}, func(p string) bool {
				return strings.HasPrefix(upper, p)
			}) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, strings.ReplaceAll(string(data), "\r\n", "\n"))
	}
	return texts, nil
}
