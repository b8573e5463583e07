package interop_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"example.com/publish/scripts/interop/fixture"
	"example.com/publish/scripts/interop/layout"
)

// How the pages of publish serve are, in Chromium: axe-core finds nothing, nothing is cut
// off, and the policy of a page forbids nothing that it needs. PAGES_SHOTS names a folder
// for pictures to look at.
func TestPagesInChromium(t *testing.T) {
	found(t, "chromium")
	axe, err := os.ReadFile(filepath.Join("..", "..", "bin", "axe.min.js"))
	if err != nil {
		t.Skipf("axe-core is missing: `make interop` brings it (%v)", err)
	}
	need(t, "mksquashfs", "xz")
	r := newRepo(t, "symlink")
	r.configure("format: simplestreams\nserve: {public_url: 'https://images.example.org'}\n")
	images := fixture.Numbered(6)
	for _, image := range images[:3] {
		r.split(image)
	}
	r.run("promote", "-m", "the first images")
	for _, image := range images[3:] {
		r.container(image)
	}
	r.run("promote", "-m", strings.Repeat("a message that is long ", 20))
	r.run("revert", "-m", "an-extremely-long-word-"+strings.Repeat("without-any-space-", 20))
	r.run("hold", "-m", "release week")
	r.container(images[5])
	err = os.WriteFile(filepath.Join(r.dir, "staging", "streams", "v1", "extra.json"), []byte("{"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	r.inChromium(string(axe), "images/")
}

// The same of a repository of OCI images, with tags and digests as they come.
func TestLayoutPagesInChromium(t *testing.T) {
	found(t, "chromium")
	axe, err := os.ReadFile(filepath.Join("..", "..", "bin", "axe.min.js"))
	if err != nil {
		t.Skipf("axe-core is missing: `make interop` brings it (%v)", err)
	}
	r := newImages(t, "symlink")
	long := strings.Repeat("a-part-that-is-long/", 8) + "image"
	for i, name := range []string{repository, "ghcr.io/acme/" + long} {
		l := &layout.Dir{Path: r.staging(name)}
		one := l.Image("one", machine, nil, nil)
		l.Tag(one, "one")
		l.Tag(l.List(l.Image("a", machine, nil, nil), l.Image("b", "linux/s390x", nil, nil)), strings.Repeat("v1.", 40)+"0")
		l.Tag(l.Image("refers", machine, nil, map[string]any{"subject": one, "artifactType": "application/vnd.example"}), "")
		l.Tag(l.Image("untagged", machine, nil, nil), "")
		if err := l.Write(); err != nil {
			t.Fatal(err)
		}
		r.run("promote", "-m", fmt.Sprint("number ", i))
	}
	if err := os.RemoveAll(r.staging(repository)); err != nil {
		t.Fatal(err)
	}
	r.run("promote", "-m", "what went is carried")
	r.inChromium(string(axe), "-/images?q=v1")
}

// inChromium looks at all pages, and one more of the public address: light and dark, wide
// and narrow.
func (r *repo) inChromium(axe, more string) {
	public, admin := r.serve()
	b := openBrowser(r.t, axe)
	for _, at := range []string{public, admin} {
		for _, name := range []string{"", "-/images", "-/images?q=nothing+at+all", "-/history", "-/diff",
			"-/diff?from=1&to=2", "-/carried", "-/findings", more} {
			if at == admin && name == more {
				continue
			}
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{1280, 320} {
					b.look(r.t, at+"/"+name, width, scheme)
				}
			}
		}
	}
}

// serve runs publish serve until the test ends, and returns its public and its admin
// address.
func (r *repo) serve() (public, admin string) {
	r.t.Helper()
	cmd := exec.Command(r.program, "--repo", r.dir, "-q", "serve", "--listen", "http://127.0.0.1:0", "--admin",
		"http://localhost:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			r.t.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	for _, to := range []*string{&public, &admin} {
		if !lines.Scan() {
			r.t.Fatal("publish serve printed no address")
		}
		*to = lines.Text()
	}
	return public, admin
}

// browser is a Chromium.
type browser struct {
	ctx context.Context
	axe string

	mu   sync.Mutex
	said []string // what it complains about
}

func openBrowser(t *testing.T, axe string) *browser {
	t.Helper()
	ctx, stop := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath("chromium"), chromedp.Headless,
		chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.DisableGPU, chromedp.Flag("hide-scrollbars", true))
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{ctx: ctx, axe: axe}
	err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if !strings.HasSuffix(e.Entry.URL, "/favicon.ico") { // it asks for one by itself
				b.said = append(b.said, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			b.said = append(b.said, e.ExceptionDetails.Text)
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	// openAll shows what a reader can unfold.
	openAll = `document.querySelectorAll("details").forEach(d => d.open = true)`
	// cutOff lists what is wider than its place, and cells that have no place.
	cutOff = `[...document.querySelectorAll("body, body *")].filter(e => !e.closest("thead, .hidden, .skip, select"))
		.filter(e => e.getBoundingClientRect().right > innerWidth + 1 || e.clientWidth > 0 && e.tagName != "INPUT" &&
			e.scrollWidth > e.clientWidth + 1 || innerWidth > 800 && /^T[DH]$/.test(e.tagName) && e.clientWidth < 60)
		.map(e => e.outerHTML.slice(0, 200))`
	// judge lists what axe-core finds, and the contrasts that it cannot compute.
	judge = `axe.run().then(r => r.violations.concat(r.incomplete.filter(i => i.id == "color-contrast"))
		.flatMap(v => v.nodes.map(n => v.id + ": " + n.html.slice(0, 200) + " " + n.failureSummary)))`
)

// look opens a page, and judges it.
func (b *browser) look(t *testing.T, url string, width int64, scheme string) {
	t.Helper()
	what := fmt.Sprintf("%s, %s, %d px", url, scheme, width)
	ctx, stop := context.WithTimeout(b.ctx, 2*time.Minute)
	defer stop()
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	if err == nil {
		err = chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(url),
			chromedp.Evaluate[chromedp.Void](openAll))
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](cutOff))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, p := range wide {
		t.Errorf("%s: is cut off: %s", what, p)
	}
	if dir := os.Getenv("PAGES_SHOTS"); dir != "" {
		picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		name := regexp.MustCompile(`[^a-z0-9.-]+`).ReplaceAllString(strings.TrimPrefix(what, "http://127.0.0.1:"), "_")
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)); err != nil {
			t.Error(err)
		}
	}
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](b.axe)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	problems, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](judge, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", what, p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.said {
		t.Errorf("%s: the browser says: %s", what, p)
	}
	b.said = nil
}
