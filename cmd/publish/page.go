package main

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/russross/blackfriday/v2"
)

// page prints Markdown for people: headings stand at the left edge, and text
// is indented and broken at the width.
type page struct {
	columns int
	indent  string // before text, not before headings
	styled  bool   // with the escape sequences of a terminal
}

const (
	bold   = "\x1b[1m"
	normal = "\x1b[0m"
	gap    = "  " // between the columns of a table
)

func parseGuide(text string) *blackfriday.Node {
	extensions := blackfriday.NoIntraEmphasis | blackfriday.Tables | blackfriday.FencedCode | blackfriday.SpaceHeadings
	return blackfriday.New(blackfriday.WithExtensions(extensions)).Parse([]byte(text))
}

func (p *page) write(w io.Writer, text string) {
	for n := parseGuide(text).FirstChild; n != nil; n = n.Next {
		if n.Type == blackfriday.HTMLBlock {
			continue // a mark for a tool
		}
		if n.Prev != nil && (n.Prev.Type != blackfriday.HTMLBlock || n.Prev.Prev != nil) {
			fmt.Fprintln(w)
		}
		p.block(w, n)
	}
}

func (p *page) block(w io.Writer, n *blackfriday.Node) {
	switch n.Type {
	case blackfriday.Heading:
		fmt.Fprintln(w, p.strong(p.inline(n)))
	case blackfriday.Paragraph:
		p.paragraph(w, p.indent, p.indent, p.inline(n))
	case blackfriday.List:
		number := 0
		for item := n.FirstChild; item != nil; item = item.Next {
			number++
			mark := "- "
			if item.ListFlags&blackfriday.ListTypeOrdered != 0 {
				mark = fmt.Sprintf("%d. ", number)
			}
			p.paragraph(w, p.indent+mark, p.indent+strings.Repeat(" ", len(mark)), p.inline(item))
		}
	case blackfriday.CodeBlock:
		for line := range strings.Lines(string(n.Literal)) {
			fmt.Fprint(w, p.indent, "  ", line)
		}
	case blackfriday.Table:
		p.table(w, n)
	}
}

// inline is the text of a node in one line.
func (p *page) inline(n *blackfriday.Node) string {
	var b strings.Builder
	n.Walk(func(n *blackfriday.Node, entering bool) blackfriday.WalkStatus {
		switch {
		case n.Type == blackfriday.Strong && entering:
			b.WriteString(p.strong(p.children(n)))
			return blackfriday.SkipChildren
		case n.Type == blackfriday.Link && entering:
			b.WriteString(p.children(n) + reference(n))
			return blackfriday.SkipChildren
		case n.Type == blackfriday.Code:
			b.WriteString(p.code(string(n.Literal)))
		case n.Type == blackfriday.Text:
			b.Write(n.Literal)
		}
		return blackfriday.GoToNext
	})
	return strings.Join(strings.Fields(b.String()), " ")
}

func (p *page) children(n *blackfriday.Node) string {
	var b strings.Builder
	for c := n.FirstChild; c != nil; c = c.Next {
		b.WriteString(p.inline(c))
	}
	return b.String()
}

// reference says where a link leads, for a reader who cannot follow it.
func reference(n *blackfriday.Node) string {
	if topic, ok := topicOf(n); ok {
		return " (publish help " + topic + ")"
	}
	target := string(n.Destination)
	if strings.Contains(target, "://") {
		return " (" + target + ")"
	}
	return "" // a file of the project; its name is the text
}

// topicOf is the guide to which a link leads.
func topicOf(n *blackfriday.Node) (string, bool) {
	topic, ok := strings.CutSuffix(path.Base(string(n.Destination)), ".md")
	return topic, ok && slices.Contains(topics, topic)
}

// strong makes each word bold by itself, so that a line may end behind any.
func (p *page) strong(text string) string {
	if !p.styled {
		return text
	}
	words := strings.Fields(text)
	for i, word := range words {
		words[i] = bold + word + normal
	}
	return strings.Join(words, " ")
}

func (p *page) code(text string) string {
	if !p.styled {
		return "`" + text + "`"
	}
	return p.strong(text)
}

// paragraph prints text with one indent on its first line and one on the others.
func (p *page) paragraph(w io.Writer, first, others, text string) {
	for i, line := range broken(text, p.columns-len(others)) {
		if i > 0 {
			first = others
		}
		fmt.Fprintln(w, first+line)
	}
}

// broken is text in lines of a width. A word that is longer has its own line.
func broken(text string, width int) []string {
	var lines []string
	column := 0
	for _, word := range strings.Fields(text) {
		n := columnsOf(word)
		switch {
		case len(lines) == 0 || column+1+n > width:
			lines, column = append(lines, word), n
		default:
			lines[len(lines)-1] += " " + word
			column += 1 + n
		}
	}
	return lines
}

// columnsOf is how wide text is without its escape sequences.
func columnsOf(text string) int {
	return runewidth.StringWidth(strings.NewReplacer(bold, "", normal, "").Replace(text))
}

// table prints columns. If they are too wide together, the widest are broken.
func (p *page) table(w io.Writer, n *blackfriday.Node) {
	var rows [][]string
	n.Walk(func(n *blackfriday.Node, entering bool) blackfriday.WalkStatus {
		switch {
		case n.Type == blackfriday.TableRow && entering:
			rows = append(rows, nil)
		case n.Type == blackfriday.TableCell && entering:
			text := p.inline(n)
			if n.IsHeader {
				text = p.strong(text)
			}
			rows[len(rows)-1] = append(rows[len(rows)-1], strings.ReplaceAll(text, `\|`, "|"))
			return blackfriday.SkipChildren
		}
		return blackfriday.GoToNext
	})
	widths := p.widths(rows)
	for i, row := range rows {
		p.row(w, row, widths)
		if i == 0 && strings.Join(row, "") != "" {
			rule := make([]string, len(widths))
			for c, width := range widths {
				rule[c] = strings.Repeat("-", width)
			}
			p.row(w, rule, widths)
		}
	}
}

func (p *page) row(w io.Writer, row []string, widths []int) {
	cells := make([][]string, len(row))
	height := 1
	for c, text := range row {
		cells[c] = broken(text, widths[c])
		height = max(height, len(cells[c]))
	}
	for l := range height {
		line := p.indent
		for c := range row {
			text := ""
			if l < len(cells[c]) {
				text = cells[c][l]
			}
			line += text + strings.Repeat(" ", max(0, widths[c]-columnsOf(text))) + gap
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// widths are those of the columns: what the cells need. If that is more than
// there is, the widest columns have less, but room for their longest word.
func (p *page) widths(rows [][]string) []int {
	widths, least := make([]int, len(rows[0])), make([]int, len(rows[0]))
	over := len(p.indent) - len(gap) - p.columns
	for c := range widths {
		for _, row := range rows {
			widths[c] = max(widths[c], columnsOf(row[c]))
			for _, word := range strings.Fields(row[c]) {
				least[c] = max(least[c], columnsOf(word))
			}
		}
		over += widths[c] + len(gap)
	}
	for ; over > 0; over-- {
		widest := -1
		for c, width := range widths {
			if width > least[c] && (widest < 0 || width > widths[widest]) {
				widest = c
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}
