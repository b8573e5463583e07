//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// line is a series of the plot: seconds against items.
type line struct {
	name   string
	points []point
	peer   bool // drawn dashed
}

type point struct{ x, y float64 }

// series are the costs that grow with a tree, or should not.
func (b *bench) series() []line {
	var out []line
	for _, l := range []struct {
		name string
		pick pick
		peer bool
	}{
		{"promote, one new image", pick{"promote", 0, ours, wall}, false},
		{"promote, nothing changed", pick{"promote-same", 0, ours, wall}, false},
		{"revert", pick{"revert", 0, ours, wall}, false},
		{"switch until durable", pick{"promote", 0, ours, switching}, false},
		{"prune plan", pick{"prune", 0, ours, wall}, false},
		{cpalSyncRm, pick{"promote", 0, cpalSyncRm, wall}, true},
		{"ostree commit, checkout -H", pick{"promote", 0, ostreeBoth, wall}, true},
		{"incus-simplestreams prune", pick{"prune", 0, incus, wall}, true},
	} {
		var sizes []int
		for _, s := range b.samples {
			if s.Experiment == l.pick.experiment && s.Contender == l.pick.contender && !slices.Contains(sizes, s.Size) {
				sizes = append(sizes, s.Size)
			}
		}
		slices.Sort(sizes)
		var points []point
		for _, size := range sizes {
			l.pick.size = size
			if s, items := b.find(l.pick); s.median > 0 {
				points = append(points, point{float64(items), s.median})
			}
		}
		if len(points) > 0 {
			out = append(out, line{l.name, points, l.peer})
		}
	}
	return out
}

// The colours of the lines, for a light background and a dark one.
var colours = [][2]string{
	{"#0b62c4", "#6cb0ff"}, {"#0f8a5f", "#4fd1a1"}, {"#8a3fc0", "#c99bf5"}, {"#c43d0b", "#ff9466"},
	{"#0e7c8c", "#5cc8d8"}, {"#55606b", "#a9b4bf"}, {"#9a6a00", "#e5b94c"}, {"#b0286a", "#f58ab8"},
}

const (
	plotWidth, plotHeight            = 900, 520
	plotLeft, plotTop                = 74, 46
	plotRight, plotBottom            = 640, 456 // the legend is right of it
	legendX, legendStep, markerWidth = 662, 26, 28
)

// plot draws lines on two logarithmic axes, as an SVG for light and dark pages.
func plot(lines []line) string {
	var t strings.Builder
	fmt.Fprintf(&t,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="Cost against size" `+
			`font-family="system-ui, sans-serif" font-size="13">`+"\n", plotWidth, plotHeight)
	t.WriteString(style())
	fmt.Fprintf(&t, `<rect class="page" width="%d" height="%d"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&t, `<text class="title" x="%d" y="26">Cost against size (medians; dashed: peers)</text>`+"\n",
		plotLeft)
	x, y := axes(lines)
	for _, d := range x.ticks() {
		at := x.at(d)
		fmt.Fprintf(&t,
			`<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			at, plotTop, at, plotBottom, at, plotBottom+20, thousands(int(d)))
	}
	for _, d := range y.ticks() {
		at := y.at(d)
		fmt.Fprintf(&t,
			`<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+
				"\n",
			plotLeft, at, plotRight, at, plotLeft-8, at+4, duration(d))
	}
	fmt.Fprintf(&t, `<text x="%d" y="%d" text-anchor="middle">files in the tree (prune: versions)</text>`+"\n",
		(plotLeft+plotRight)/2, plotBottom+44)
	fmt.Fprintf(&t, `<text x="18" y="%d" text-anchor="middle" transform="rotate(-90 18 %d)">time</text>`+"\n",
		(plotTop+plotBottom)/2, (plotTop+plotBottom)/2)
	for i, l := range lines {
		class := fmt.Sprintf("l%d", i%len(colours))
		if l.peer {
			class += " peer"
		}
		var path strings.Builder
		for j, p := range l.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], x.at(p.x), y.at(p.y))
		}
		fmt.Fprintf(&t, `<g class="%s"><path d="%s"/>`, class, path.String())
		for _, p := range l.points {
			fmt.Fprintf(&t, `<circle cx="%.1f" cy="%.1f" r="3.5"><title>%s, %s: %s</title></circle>`, x.at(p.x),
				y.at(p.y), html.EscapeString(l.name), thousands(int(p.x)), scalar(p.y, "s"))
		}
		at := plotTop + 12 + i*legendStep
		fmt.Fprintf(&t, `<path d="M%d %dh%d"/><circle cx="%d" cy="%d" r="3.5"/></g><text x="%d" y="%d">%s</text>`+"\n",
			legendX, at, markerWidth, legendX+markerWidth/2, at, legendX+markerWidth+8, at+4, html.EscapeString(l.name))
	}
	t.WriteString("</svg>\n")
	return t.String()
}

func style() string {
	var light, dark strings.Builder
	for i, c := range colours {
		fmt.Fprintf(&light, ".l%d{stroke:%s;fill:%s}", i, c[0], c[0])
		fmt.Fprintf(&dark, ".l%d{stroke:%s;fill:%s}", i, c[1], c[1])
	}
	return `<style>.page{fill:#fff}text{fill:#24292f}.title{font-size:15px;font-weight:600}` +
		`.grid{stroke:#d0d7de}path{fill:none;stroke-width:2}.peer path{stroke-dasharray:6 4}` +
		light.String() +
		`@media (prefers-color-scheme:dark){.page{fill:#0d1117}text{fill:#e6edf3}.grid{stroke:#30363d}` +
		dark.String() + "}</style>\n"
}

// axis maps the powers of ten from min to max to positions.
type axis struct{ min, max, from, to float64 }

func (a axis) at(v float64) float64 {
	return a.from + (math.Log10(v)-math.Log10(a.min))/(math.Log10(a.max)-math.Log10(a.min))*(a.to-a.from)
}

func (a axis) ticks() (out []float64) {
	for v := a.min; v < a.max*1.001; v *= 10 {
		out = append(out, v)
	}
	return out
}

// axes span all points, from a power of ten to another one.
func axes(lines []line) (x, y axis) {
	x, y = axis{1, 10, plotLeft, plotRight}, axis{1e-3, 1, plotBottom, plotTop}
	var xs, ys []float64
	for _, l := range lines {
		for _, p := range l.points {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	if len(xs) > 0 {
		x.min, x.max = tens(xs)
		y.min, y.max = tens(ys)
	}
	return x, y
}

func tens(values []float64) (low, high float64) {
	low = math.Pow(10, math.Floor(math.Log10(slices.Min(values))))
	high = math.Pow(10, math.Ceil(math.Log10(slices.Max(values))))
	return low, max(high, low*10)
}

// duration is a power of ten of seconds.
func duration(s float64) string {
	switch {
	case s < 0.9e-3:
		return fmt.Sprintf("%.0f µs", s*1e6)
	case s < 0.9:
		return fmt.Sprintf("%.0f ms", s*1e3)
	}
	return fmt.Sprintf("%.0f s", s)
}
