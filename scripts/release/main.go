// Package main makes a release of publish in a folder: packages of Debian and RPM, archives, an
// image for engines, a bill of materials and checksums.
//
// It is a module of its own, because what makes packages is larger than the program.
//
// The same commit makes the same bytes, on any machine that has the same Go. So nothing here
// reads the clock, the name of the machine, a user or an environment: times are those of the
// commit, owners are given, lists are sorted, and archives have no fields but these. One thing
// follows the machine, because it is for it: the platform that classic Docker loads from the
// image. After the modules are there it uses no network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// architectures are those of Go for which there are packages.
var architectures = []string{"amd64", "arm64"}

// tagged is the name of a version, as the tag of its commit has it.
var tagged = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$`)

// release is what all parts of one have in common.
type release struct {
	tag        string // v1.2.3
	commit     string // of the source, in hexadecimal digits
	at         time.Time
	maintainer string // as in the control file of a package: NAME <ADDRESS>
	source     string // the top of the project
	out        string // the folder of the release
}

// version is that of the packages and of the names of files: 1.2.3.
func (r release) version() string { return strings.TrimPrefix(r.tag, "v") }

// path is that of a file of the release, whose name ends in what is given.
func (r release) path(end string) string {
	return filepath.Join(r.out, "publish_"+r.version()+end)
}

func main() {
	var r release
	flag.StringVar(&r.tag, "version", "", "make version `TAG`, such as v1.2.3")
	flag.StringVar(&r.source, "source", "../..", "the project is in `DIR`")
	flag.StringVar(&r.out, "out", "../../dist", "write the release to `DIR`, which is emptied first")
	flag.StringVar(&r.maintainer, "maintainer", "",
		"the packages are maintained by `NAME <ADDRESS>`; default: the author of the commit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := r.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func (r release) run(ctx context.Context) error {
	if !tagged.MatchString(r.tag) {
		return fmt.Errorf("%q: is not a version; give VERSION=v1.2.3", r.tag)
	}
	var err error
	if r.source, err = filepath.Abs(r.source); err != nil {
		return err
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "publish-release")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	binaries := map[string]string{}
	for _, arch := range architectures {
		fmt.Println("building for", arch)
		binaries[arch] = filepath.Join(work, arch, "publish")
		if err := r.build(ctx, arch, binaries[arch]); err != nil {
			return err
		}
	}
	made, err := r.generate(ctx, filepath.Join(work, "here"))
	if err != nil {
		return err
	}
	if err := r.assemble(ctx, binaries, made); err != nil {
		return err
	}
	return r.sum()
}

// look finds which commit this is, and when it was made.
func (r *release) look(ctx context.Context) error {
	changed, err := r.output(ctx, "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return errors.New("the work tree has changes that are not committed: a release is what a commit has\n" + changed)
	}
	if r.commit, err = r.output(ctx, "git", "rev-parse", "HEAD"); err != nil {
		return err
	}
	if r.maintainer == "" {
		if r.maintainer, err = r.output(ctx, "git", "log", "-1", "--format=%an <%ae>"); err != nil {
			return err
		}
	}
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		if seconds, err = r.output(ctx, "git", "log", "-1", "--format=%ct"); err != nil {
			return err
		}
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.at = time.Unix(n, 0).UTC()
	return nil
}

// output runs a command at the top of the project, and returns what it prints.
func (r release) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = r.source, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// assemble writes all but the checksums.
func (r release) assemble(ctx context.Context, binaries map[string]string, made generated) error {
	for _, arch := range architectures {
		fmt.Println("packing for", arch)
		if err := r.packages(arch, binaries[arch], made); err != nil {
			return err
		}
		if err := r.archive(arch, binaries[arch], made); err != nil {
			return err
		}
	}
	fmt.Println("making the image")
	if err := r.image(ctx, binaries); err != nil {
		return err
	}
	return r.materials(binaries)
}
