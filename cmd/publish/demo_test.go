package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The commands that the demo shows can be pasted: the shell reads in each what
// the demo ran.
func TestDemoCommandsCanBePasted(t *testing.T) {
	const script = `eval "$(sed -n '/^quoted() {/,/^}/p; /^step() {/,/^}/p' ../../scripts/demo)"
step printf '<%s>' promote -m 'the first image' "it's" '' '$HOME; *'`
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, shown, _ := strings.Cut(string(out), "$ ")
	line, printed, _ := strings.Cut(shown, "\n")
	if want := "<promote><-m><the first image><it's><><$HOME; *>"; printed != want {
		t.Fatalf("the demo ran %q, want %q", printed, want)
	}
	again, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil || string(again) != printed {
		t.Errorf("pasted, %q prints %q, want %q (%v)", line, again, printed, err)
	}
}

// The demo ends with a page as text: no tag of it is left, and what is quoted in it is
// readable.
func TestDemoShowsThePageAsText(t *testing.T) {
	const page = `<head><title>no</title></head>
<main id="main" class="wrap">

<h1>Generation 3 is live</h1>
<p class="lede">Since <time datetime="x">1 Jan 2026</time> (2h ago), by revert: a &lt;b&gt; &amp; &#34;c&#34;.</p>
<div><dt>Served</dt><dd>1 image <small>1 version</small></dd></div>
<h2 id="kept">Kept</h2>
<p>no</p>
</main>`
	const script = `eval "$(sed -n '/^text() {/,/^}/p' ../../scripts/demo)"; text`
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdin = strings.NewReader(page)
	out, err := cmd.CombinedOutput()
	want := "Generation 3 is live\nSince 1 Jan 2026 (2h ago), by revert: a <b> & \"c\".\nServed: 1 image 1 version\n"
	if got := string(out); err != nil || got != want {
		t.Errorf("%v: %q, want %q", err, got, want)
	}
}
