//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"example.com/publish/publish/site/bucket/storetest"
)

// concurrency is how many uploads each contender has at once.
const concurrency = 8

// Contenders of the cases with many promoters.
const (
	atOnce = "publish, 16 at once"
	inARow = "publish, 16 in a row"
)

// buckets promotes to an object store with many objects, and reverts there.
func (b *bench) buckets(ctx context.Context) error {
	const size = 20_000
	if !b.wants("bucket-first", size) && !b.wants("bucket-promote", size) && !b.wants("bucket-revert", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	o, err := w.objects()
	if err != nil {
		return err
	}
	defer o.stop()
	t := &site{workshop: w, size: size, shape: shape{versions: b.n(size) / 2, root: 2 << 10}, tree: w.path("tree"),
		repo: w.path("repo")}
	if err := makeTree(t.tree, t.shape); err != nil {
		return err
	}
	if err := o.repo(w, t.repo, "ours"); err != nil {
		return err
	}
	if _, err := b.do(b.publish(t.repo, "stage", "import", "--quiet", t.tree)...); err != nil {
		return err
	}
	remote := o.Bucket + "/theirs"
	rclone := command{argv: []string{"rclone", "sync", "--checksum", "--fast-list", "--transfers", fmt.Sprint(concurrency),
		"--checkers", fmt.Sprint(concurrency), t.tree, "bench:" + remote}}
	aws := command{argv: []string{"aws", "--endpoint-url", o.proxy.Endpoint, "s3", "sync", "--size-only",
		"--only-show-errors", t.tree, "s3://" + remote}}
	reset := func(int) error { o.reset(); return nil }
	// The upload is done once: what it leaves is where the others begin.
	err = b.must(ctx, experiment{name: "bucket-first", size: size, items: t.shape.files(), rounds: 1,
		contenders: []contender{
			{name: ours, prepare: reset, counted: o.counts(nil), check: o.whole(t),
				run: func(int) []command { return b.publish(t.repo, "promote", "--json") }},
			{name: rcloneSync, missing: b.missing("rclone"), prepare: reset, counted: o.counts(nil),
				run: func(int) []command { return []command{rclone} }}}})
	if err != nil {
		return err
	}
	grow := func(int) error {
		t.grown++
		err := growTree(t.tree, shape{versions: 1, root: 1 << 20}, fmt.Sprint("grown", t.grown))
		o.reset()
		return err
	}
	err = b.measure(ctx, experiment{name: "bucket-promote", size: size, items: t.shape.files(), rounds: 3,
		contenders: []contender{
			{name: ours, prepare: func(round int) error { return errors.Join(t.stageMB(), reset(round)) },
				counted: o.counts(t.new), check: o.whole(t),
				run: func(int) []command { return b.publish(t.repo, "promote", "--json") }},
			{name: rcloneSync, missing: b.missing("rclone"), prepare: grow, counted: o.counts(nil),
				run: func(int) []command { return []command{rclone} }},
			{name: awsSync, missing: b.missing("aws"), prepare: grow, counted: o.counts(nil),
				run: func(int) []command { return []command{aws} }}}})
	if err != nil {
		return err
	}
	return b.measure(ctx, experiment{name: "bucket-revert", size: size, items: t.shape.files(), rounds: 3,
		contenders: []contender{{name: ours, prepare: reset, counted: o.counts(nil),
			run: func(int) []command { return b.publish(t.repo, "revert", "--json") }}}})
}

// must is measure for what later cases begin with: it runs also if only these were asked
// for.
func (b *bench) must(ctx context.Context, e experiment) error {
	if b.wants(e.name, e.size) {
		return b.measure(ctx, e)
	}
	for _, c := range e.contenders {
		if c.missing == "" {
			if _, err := b.do(c.run(0)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// stageMB stages an image of a megabyte.
func (t *site) stageMB() error {
	t.images++
	name := fmt.Sprint("added", t.images)
	img, err := makeImage(fmt.Sprint(t.repo, "-", name), name, int64(min(1<<20, t.bench.n(1<<20)*10)))
	if err != nil {
		return err
	}
	_, err = t.bench.do(t.bench.publish(t.repo, "stage", "add", img.metadata, img.root)...)
	return err
}

// new is how many bytes the newest image has, and the catalog with it.
func (t *site) new() int64 {
	dir, total := fmt.Sprint(t.repo, "-added", t.images), int64(0)
	for _, path := range []string{dir + "/incus.tar.gz", dir + "/rootfs.squashfs", t.catalog()} {
		if fi, err := os.Stat(path); err == nil {
			total += fi.Size()
		}
	}
	return total
}

// whole checks that a promote changed something, and that the store has all of it.
func (o *objects) whole(t *site) func(int, []byte) error {
	return func(_ int, out []byte) error {
		var res switched
		if err := json.Unmarshal(out, &res); err != nil || res.Unchanged || len(res.Added) == 0 {
			return fmt.Errorf("%s", out)
		}
		_, err := t.bench.do(t.bench.publish(t.repo, "verify", "--quiet")...)
		return err
	}
}

// bucketsMany lets 16 machines promote an image each, at once and in a row.
func (b *bench) bucketsMany(ctx context.Context) error {
	const machines, size = 16, 2_000
	if !b.wants("bucket-many", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	o, err := w.objects()
	if err != nil {
		return err
	}
	defer o.stop()
	tree := w.path("tree")
	if err := makeTree(tree, shape{versions: b.n(size) / 2, root: 2 << 10}); err != nil {
		return err
	}
	n := 0
	// fresh makes 16 machines with an image staged on each.
	fresh := func(int) error {
		n++
		prefix := fmt.Sprint("many", n)
		for i := range machines {
			dir := w.path(fmt.Sprint("machine", i))
			if err := o.repo(w, dir, prefix); err != nil {
				return err
			}
			if i == 0 {
				commands := append(b.publish(dir, "stage", "import", "-q", tree), b.publish(dir, "promote", "-q")...)
				if _, err := b.do(commands...); err != nil {
					return err
				}
			}
			name := fmt.Sprintf("many%dx%d", n, i)
			img, err := makeImage(w.path(name), name, 4<<10)
			if err != nil {
				return err
			}
			if _, err := b.do(b.publish(dir, "stage", "add", img.metadata, img.root)...); err != nil {
				return err
			}
		}
		o.reset()
		return nil
	}
	all := func(join string) func(int) []command {
		return func(int) []command {
			text := "set -e\npids=\n"
			for i := range machines {
				text += fmt.Sprintf("%s --repo %s promote -q%s\n", b.bin, w.path(fmt.Sprint("machine", i)), join)
			}
			return one("", "sh", "-c", text+"for p in $pids; do wait $p; done")
		}
	}
	check := func(int, []byte) error {
		out, err := b.do(append(b.publish(w.path("machine0"), "promote", "-q"),
			b.publish(w.path("machine0"), "stage", "list", "--json")...)...)
		if got := strings.Count(string(out), fmt.Sprintf(`"product":"many%dx`, n)); err == nil && got != machines {
			err = fmt.Errorf("%d of %d images are published", got, machines)
		}
		return err
	}
	return b.measure(ctx, experiment{name: "bucket-many", size: size, items: machines, rounds: 3, contenders: []contender{
		{name: atOnce, prepare: fresh, run: all(" & pids=\"$pids $!\""), counted: o.counts(nil), check: check},
		{name: inARow, prepare: fresh, run: all(""), counted: o.counts(nil), check: check},
	}})
}

// bucketsLarge goes on with the upload of a large image that was killed in the middle.
func (b *bench) bucketsLarge(ctx context.Context) error {
	const size = 2 << 10 // MiB
	if !b.wants("bucket-large", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	o, err := w.objects()
	if err != nil {
		return err
	}
	defer o.stop()
	bytes := int64(b.n(size)) << 20
	repo := w.path("repo")
	n := 0
	prepare := func(int) error {
		n++
		if err := o.repo(w, repo, fmt.Sprint("large", n)); err != nil {
			return err
		}
		name := fmt.Sprint("large", n)
		img, err := makeImage(w.path(name), name, bytes)
		if err != nil {
			return err
		}
		if _, err := b.do(b.publish(repo, "stage", "add", "--move", filepath.Dir(img.root))...); err != nil {
			return err
		}
		o.reset()
		if err := o.killAt(b.publish(repo, "promote", "-q")[0].argv, bytes/2); err != nil {
			return err
		}
		o.reset()
		return nil
	}
	return b.measure(ctx, experiment{name: "bucket-large", size: size, items: b.n(size), rounds: 1,
		contenders: []contender{{name: ours, prepare: prepare,
			counted: func(s *sample) { o.counts(nil)(s); s.Asked.Least = bytes },
			run:     func(int) []command { return b.publish(repo, "promote", "-q") },
			check: func(int, []byte) error {
				_, err := b.do(b.publish(repo, "verify", "--quiet")...)
				return err
			}}}})
}

// killAt runs a command until the answers to so many bytes have arrived, and kills it then.
func (o *objects) killAt(argv []string, half int64) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	reached := make(chan struct{}, 1)
	o.proxy.Around(nil, func(storetest.Request) {
		var done int64
		for _, r := range o.proxy.Requests() {
			if r.Answered == 200 {
				done += r.Sent
			}
		}
		if done >= half {
			select {
			case reached <- struct{}{}:
			default:
			}
		}
	})
	defer o.proxy.Around(nil, nil)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-reached:
		err := cmd.Process.Kill()
		<-ended
		return err
	case err := <-ended:
		return fmt.Errorf("it ended before it could be killed: %w", err)
	}
}
