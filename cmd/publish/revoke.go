package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"example.com/publish/publish"
)

func (p *program) revokeCommand() *command {
	return verb(&cli.Command{
		Name: "revoke", Category: "production", ArgsUsage: "WHAT...",
		Usage: "take a leaked secret or a poisoned image away at once, everywhere",
		Description: "WHAT is a fingerprint (twelve digits or more of it), a product, product/version, a path, or " +
			"the sha256 of a file; in format oci a repository, repository:tag, repository@digest, a path, or the " +
			"digest of an image, a platform, a config or a layer. A tag whose image another tag has also is refused: " +
			"name the digest, which takes all its tags, the indexes that list it and what refers to it. First " +
			"production is switched to a new generation without it, of which nothing is " +
			"carried; then it is deleted from staging, trash and every kept generation, past grace windows. The same " +
			"content cannot be staged or promoted again without --force. A path stands for its content, and for " +
			"every image that needs it; a product or version for whatever bears that name in any tree, also for what " +
			"clients skip. A file that another image needs stays, and that is said.\n\n" +
			"Where standard input and standard error are a terminal it prints what it would delete, and asks, unless " +
			"--yes or --json is given.\n\n" +
			"A kept generation that had it can be reverted to without it; of a tree without indexes it cannot. " +
			"Nothing undoes a revoke.",
		Flags: []cli.Flag{
			dryRunFlag(),
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "record `WHY`; required"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask; only on a terminal it asks"},
			noSyncFlag(),
		},
	}, 1, -1, p.revoke).
		note("`-m WHY` is required; on a terminal it asks, unless `--yes` is given").
		example("see what would be deleted",
			"publish revoke debian:12:default:amd64/20260102_00:00 -m 'ssh key inside' --dry-run").
		example("delete it everywhere, without being asked",
			"publish revoke debian:12:default:amd64/20260102_00:00 -m 'ssh key inside' --yes").
		completes(every(p.staged))
}

func (p *program) revoke(c *cli.Context) error {
	why := strings.TrimSpace(c.String("message"))
	if why == "" {
		return usage("publish revoke WHAT... -m WHY", "publish revoke: a reason is required")
	}
	r, err := p.open()
	if err != nil {
		return switching(err)
	}
	p.warnConfig(r)
	if !c.Bool("dry-run") && !c.Bool("yes") && !p.json && isTerminal(os.Stdin) && isTerminal(p.stderr) {
		if err := p.confirmRevoke(c.Context, r, publish.RevokeOptions{What: c.Args().Slice(), Why: why,
			DryRun: true}); err != nil {
			return switching(err)
		}
	}
	res, err := r.Revoke(c.Context, publish.RevokeOptions{What: c.Args().Slice(), Why: why, DryRun: c.Bool("dry-run")})
	if codeOf(err) == exitFindings {
		err = &hinted{err,
			"production is damaged: publish verify reports where; revert to a sound generation, then revoke"}
	}
	if res == nil {
		return switching(err)
	}
	for _, k := range res.Kept {
		p.warn(fmt.Sprintf("%s stays: %s also needs it; to take it from every image, revoke its path", k.Path,
			k.Called()))
	}
	targets, err := p.follow(c, r, true, err) // it is urgent, so the answer can wait
	werr := p.answer(revokedAnswer{res, targets}, func() {
		p.printRevoke(res)
		p.printSynced(targets)
	})
	if err == nil {
		err = werr
	}
	return err
}

// revokedAnswer is the answer of revoke.
type revokedAnswer struct {
	*publish.RevokeResult
	Targets []syncedTarget `json:"targets,omitempty"` // of the sync at the end
}

// confirmRevoke shows what a revoke would do, and returns an error unless a
// person agrees to it. Nothing undoes a revoke, and it is easy to type a
// product's name instead of a version's.
func (p *program) confirmRevoke(ctx context.Context, r *publish.Repo, dry publish.RevokeOptions) error {
	res, err := r.Revoke(ctx, dry)
	if err != nil || len(res.Revoked)+len(res.Unnamed) == 0 {
		return nil // the revoke itself reports that
	}
	answer := p.out // which gets nothing yet
	p.out = bufio.NewWriter(p.stderr)
	p.printRevoke(res)
	p.progress.end()
	err = p.out.Flush()
	if p.out = answer; err != nil {
		return err
	}
	yes, err := p.ask(ctx, os.Stdin, "Delete this everywhere, now? Nothing undoes it. [y/N] ")
	if err == nil && !yes {
		err = &publish.Error{Kind: publish.Refused, Fact: "publish revoke: not confirmed; nothing was deleted",
			Hint: "answer y, or give --yes"}
	}
	return err
}

// ask puts a question on standard error and reports whether the next line from
// in agrees. The end of the input does not.
func (p *program) ask(ctx context.Context, in io.Reader, question string) (bool, error) {
	fmt.Fprint(p.stderr, question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // at its end: what there is
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		return line == "y" || line == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(p.stderr)
		return false, ctx.Err()
	}
}

func (p *program) printRevoke(res *publish.RevokeResult) {
	if len(res.Revoked)+len(res.Unnamed) == 0 {
		p.idle("nothing to do: it was revoked before")
		return
	}
	dry := ""
	if res.DryRun {
		dry = "dry run: "
	}
	for _, c := range res.Revoked {
		p.say("%srevoked %s, sha256 %s", dry, oneLine(c.String()), c.SHA256[:12])
	}
	for _, v := range res.Unnamed {
		p.say("%srevoked %s, which had no content", dry, oneLine(v.String()))
	}
	var b strings.Builder
	switch {
	case res.Switched:
		fmt.Fprintf(&b, "generation %d after %d", res.Generation, res.From)
	case res.Generation != 0:
		fmt.Fprintf(&b, "generation %d did not have it", res.Generation)
	default:
		b.WriteString("production does not exist yet")
	}
	fmt.Fprintf(&b, ": %s deleted, %s", count(res.Files, "file"), size(res.Bytes))
	if len(res.Generations) > 0 {
		fmt.Fprintf(&b, "; redacted: %s", strings.Trim(strings.ReplaceAll(fmt.Sprint(res.Generations), " ", ", "),
			"[]"))
	}
	if !res.DryRun {
		fmt.Fprintf(&b, "; %s", time.Duration(res.DurationMS)*time.Millisecond)
	}
	p.say("%s%s", dry, b.String())
}
