//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.com/publish/scripts/crash/check"
)

// powercut runs verbs on file systems of their own and cuts the power: right
// after exit status 0, and at random moments before. Then the file system is
// mounted again, and holds when:
//
//   - after a cut behind exit 0 production and staging are, file by file,
//     what the command left;
//   - after a cut before, they are what they were or what the command leaves;
//   - recover succeeds, verify finds nothing, and whatever production served
//     before still reads;
//   - of what a command revoked that ended with exit 0, no copy is there, not
//     even before recover; after another cut none is, or every one.
//
// The cut on ext4 and XFS is FS_IOC_SHUTDOWN without a flush of the log: what
// was not on disk is lost. btrfs has none, so there the image file is copied
// while it is mounted, and the copy is mounted. Needs root.
func powercut(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("crash powercut", flag.ContinueOnError)
	publish := flags.String("publish", "publish", "the program")
	systems := flags.String("fs", "ext4,xfs,btrfs", "file systems")
	modes := flags.String("switch", "symlink,rename", "switch modes")
	only := flags.String("run", "", "only scenarios that this regular expression matches")
	rounds := flags.Int("rounds", 3, "cuts at random moments for each verb")
	if err := flags.Parse(args); err != nil {
		return 2, nil
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return 2, err
	}
	if os.Getuid() != 0 {
		return 1, errors.New("powercut mounts file systems: run it as root")
	}
	bin, err := exec.LookPath(*publish)
	if err == nil {
		bin, err = filepath.Abs(bin)
	}
	if err != nil {
		return 2, err
	}
	dir, err := os.MkdirTemp("", "publish-powercut-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	images := filepath.Join(dir, "images")
	if err := errors.Join(makeImages(images, 4), makeKeys(images)); err != nil {
		return 1, err
	}
	url, err := hub(images)
	if err != nil {
		return 1, err
	}
	tried, broken := 0, 0
	for _, kind := range strings.Split(*systems, ",") {
		if _, err := exec.LookPath("mkfs." + kind); err != nil {
			fmt.Printf("%-8s skipped: mkfs.%s is missing\n", kind, kind)
			continue
		}
		for _, mode := range strings.Split(*modes, ",") {
			for _, s := range scenarios {
				if s.wreck != nil || s.bucket || !match.MatchString(s.name) {
					continue
				}
				c := &cutter{publish: bin, images: images, hub: url, dir: dir, kind: kind, mode: mode, scenario: s}
				for round := range 1 + *rounds {
					if ctx.Err() != nil {
						return 130, ctx.Err()
					}
					tried++
					if err := c.round(round == 0); err != nil {
						broken++
						fmt.Printf("BROKEN %s/%s/%s round %d: %v\n", kind, mode, s.name, round, err)
					}
				}
			}
			fmt.Printf("%s/%s: done, %d tried, %d broken so far\n", kind, mode, tried, broken)
		}
	}
	fmt.Printf("cuts tried: %d, broken: %d\n", tried, broken)
	if broken > 0 || tried == 0 {
		return 1, nil
	}
	return 0, nil
}

// cutter cuts the power under one scenario on one file system.
type cutter struct {
	publish, images, dir string
	hub                  string // the URL of a registry
	kind, mode           string
	scenario             scenario
	took                 time.Duration // the command, uncut

	secrets map[check.File]bool // what is revoked
	found   []string            // where that lies before
}

func (c *cutter) round(afterExit bool) (err error) {
	disk, at := filepath.Join(c.dir, "disk"), filepath.Join(c.dir, "at")
	if err := c.makeDisk(disk, at); err != nil {
		return err
	}
	mounted := true
	defer func() {
		if mounted {
			err = errors.Join(err, unmount(at))
		}
	}()
	repo := filepath.Join(at, "repo")
	if err := os.Mkdir(repo, 0o755); err != nil {
		return err
	}
	if out, err := c.command(repo, "sh", "-ec", c.scenario.setup+"\n"+c.scenario.fresh).CombinedOutput(); err != nil {
		return fmt.Errorf("set up: %w\n%s", err, out)
	}
	unix.Sync()
	if c.secrets, err = c.scenario.revoked(c.images); err != nil {
		return err
	}
	before, err := c.scenario.look(repo)
	if err == nil {
		c.found, err = check.Find(repo, c.secrets)
	}
	if err != nil {
		return fmt.Errorf("before: %w", err)
	}
	cmd := c.command(repo, c.publish, c.scenario.args(c.images, c.mode, repo)...)
	var after state
	if afterExit {
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
		c.took = time.Since(start)
		err = c.cut(disk, at, func() (err error) { after, err = c.scenario.look(repo); return err })
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(rand.N(c.took))
		err = c.cut(disk, at, nil)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}
	if err != nil {
		return err
	}
	if err := c.remount(disk, at); err != nil {
		mounted = false
		return err
	}
	return c.judge(repo, before, after, afterExit)
}

// judge looks at the file system that came back.
func (c *cutter) judge(repo string, before, after state, afterExit bool) error {
	now, err := c.scenario.look(repo)
	if err != nil {
		return fmt.Errorf("after the cut: %w", err)
	}
	if afterExit {
		if d := differs(now, after); d != "" {
			return fmt.Errorf("exit 0 did not survive the cut: %s", d)
		}
		if left, err := check.Find(repo, c.secrets); err != nil || len(left) > 0 {
			return errors.Join(err, fmt.Errorf("what was revoked came back with the cut: %q", left))
		}
	}
	for _, verb := range []string{"recover", "verify"} {
		if verb == "verify" && now.production == nil || !c.scenario.recovers(now.production) {
			continue // a first promote, or an adoption, that was cut before its switch
		}
		if out, err := c.command(repo, c.publish, verb).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", verb, err, out)
		}
	}
	if now, err = c.scenario.look(repo); err != nil {
		return fmt.Errorf("after recover: %w", err)
	}
	if before.production != nil {
		if err := check.StillServed(before.production, now.production, !c.scenario.dropsCarried,
			c.secrets); err != nil {
			return err
		}
	}
	if err := check.Spare(repo); err != nil {
		return err
	}
	found, err := check.Find(repo, c.secrets)
	if err != nil {
		return err
	}
	if len(found) > 0 && !slices.Equal(keptOf(found), keptOf(c.found)) {
		return fmt.Errorf("after recover: revoked content is left, but not everywhere: %q", found)
	}
	if out, err := c.command(repo, c.publish, c.scenario.args(c.images, c.mode, repo)...).CombinedOutput(); err != nil &&
		!c.scenario.done(err) {
		return fmt.Errorf("%v again: %w\n%s", c.scenario.verb, err, out)
	} else if err != nil && c.scenario.finish != nil {
		if out, err := c.command(repo, c.publish, c.scenario.finish...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", c.scenario.finish, err, out)
		}
	}
	if found, err = check.Find(repo, c.secrets); err != nil || len(found) > 0 {
		return errors.Join(err, fmt.Errorf("%v again: revoked content is left: %q", c.scenario.verb, found))
	}
	if c.scenario.probe == "" {
		return nil
	}
	if out, err := c.command(repo, "sh", "-ec", c.scenario.probe).CombinedOutput(); err != nil {
		return fmt.Errorf("probe: %w\n%s", err, out)
	}
	return nil
}

// differs compares two states file by file, times and directories apart.
func differs(a, b state) string {
	for name, pair := range map[string][2]*check.View{"production": {a.production, b.production},
		"staging": {a.staging, b.staging}} {
		x, y := pair[0], pair[1]
		if (x == nil) != (y == nil) {
			return name + " is there in one of them only"
		}
		if x == nil {
			continue
		}
		for p, f := range y.Files {
			if x.Files[p] != f {
				return name + ": " + p
			}
		}
		for p := range x.Files {
			// What a removed upload left is swept by the next writer.
			if _, ok := y.Files[p]; !ok && !strings.HasPrefix(p, ".publish-incoming/") {
				return name + " has a file that was gone: " + p
			}
		}
	}
	return ""
}

func (c *cutter) command(repo, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "PUBLISH="+c.publish, "IMAGES="+c.images, "MODE="+c.mode, "HUB="+c.hub)
	return cmd
}

func (c *cutter) makeDisk(disk, at string) error {
	if err := os.RemoveAll(disk); err != nil {
		return err
	}
	f, err := os.Create(disk)
	if err != nil {
		return err
	}
	err = errors.Join(f.Truncate(320<<20), f.Close(), os.MkdirAll(at, 0o755))
	if err != nil {
		return err
	}
	args := map[string][]string{"ext4": {"-q", "-F"}, "xfs": {"-q", "-f"}, "btrfs": {"-q", "-f"}}[c.kind]
	if out, err := exec.Command("mkfs."+c.kind, append(args, disk)...).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs: %w\n%s", err, out)
	}
	return mount(c.kind, disk, at)
}

func mount(kind, disk, at string) error {
	if out, err := exec.Command("mount", "-t", kind, "-o", "loop", disk, at).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w\n%s", err, out)
	}
	return nil
}

const (
	fsIOCShutdown = 0x8004587D
	noLogFlush    = 2
)

// cut ends the file system's life. look is called where reading still shows
// what the command left; for file systems that are shut down, that is before,
// and reading flushes nothing.
func (c *cutter) cut(disk, at string, look func() error) error {
	if c.kind == "btrfs" {
		if err := exec.Command("cp", "--sparse=always", disk, disk+".cut").Run(); err != nil {
			return err
		}
	}
	if look != nil {
		if err := look(); err != nil {
			return err
		}
	}
	if c.kind == "btrfs" {
		return nil
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), fsIOCShutdown, noLogFlush)
}

// unmount waits until nobody uses a file system: a lazy unmount could bring a
// dead one back. It gives up after ten minutes, when somebody never ends.
func unmount(at string) error {
	const poll, limit = 20 * time.Millisecond, 10 * time.Minute
	for n := time.Duration(1); ; n++ {
		err := unix.Unmount(at, 0)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EBUSY) || n*poll > limit:
			return fmt.Errorf("unmount: %w", err)
		}
		time.Sleep(poll)
	}
}

// remount mounts what a power cut left.
func (c *cutter) remount(disk, at string) error {
	if err := unmount(at); err != nil {
		return err
	}
	if c.kind == "btrfs" {
		if err := os.Rename(disk+".cut", disk); err != nil {
			return err
		}
	}
	return mount(c.kind, disk, at)
}
