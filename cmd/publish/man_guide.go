package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/russross/blackfriday/v2"

	"example.com/publish/stage/lazyregexp"
)

// guideManual is publish-TOPIC(7), made from a guide.
func guideManual(topic string) string {
	title, body := titled(topic)
	if topic == "config" {
		body += "\n```yaml\n" + annotatedConfig + "```\n"
	}
	body += "\n## See also\n\n**publish**(1)\n"
	root := parseGuide(fmt.Sprintf("# publish-%s 7 \"\" \"publish %s\" \"Guides\"\n\n"+
		"## Name\n\npublish-%s - %s\n\n## Description\n\n%s", topic, programVersion(), topic, title, body))
	forRoff(root)
	var page bytes.Buffer
	renderer := md2man.NewRoffRenderer()
	renderer.RenderHeader(&page, root)
	root.Walk(func(n *blackfriday.Node, entering bool) blackfriday.WalkStatus {
		return renderer.RenderNode(&page, n, entering)
	})
	return copyable(page.String())
}

// forRoff changes what the roff renderer does not show well: it does not break
// the cells of a table, and it shows links as file names.
func forRoff(root *blackfriday.Node) {
	var nodes []*blackfriday.Node // a walk does not survive a change
	root.Walk(func(n *blackfriday.Node, entering bool) blackfriday.WalkStatus {
		if entering {
			nodes = append(nodes, n)
		}
		return blackfriday.GoToNext
	})
	for _, n := range nodes {
		switch {
		case n.Type == blackfriday.Text && n.Parent.Type == blackfriday.Heading && n.Parent.Level == 2:
			n.Literal = bytes.ToUpper(n.Literal)
		case n.Type == blackfriday.Table:
			var text bytes.Buffer
			(&page{columns: 72}).table(&text, n)
			code := blackfriday.NewNode(blackfriday.CodeBlock)
			code.Literal = text.Bytes()
			n.InsertBefore(code)
			n.Unlink()
		case n.Type == blackfriday.Link:
			if topic, ok := topicOf(n); ok {
				name := blackfriday.NewNode(blackfriday.Strong)
				name.AppendChild(textNode("publish-" + topic))
				n.InsertBefore(name)
				n.InsertBefore(textNode("(7)"))
			} else {
				n.InsertBefore(textNode(string(n.FirstChild.Literal)))
			}
			n.Unlink()
		}
	}
}

func textNode(text string) *blackfriday.Node {
	n := blackfriday.NewNode(blackfriday.Text)
	n.Literal = []byte(text)
	return n
}

var dash = lazyregexp.New(`(^|[^\\])-`)

// copyable makes roff take dashes and quotes literally, so that commands can be
// copied from the page.
func copyable(roff string) string {
	var b strings.Builder
	for line := range strings.Lines(roff) {
		if !strings.HasPrefix(line, ".") && !strings.HasPrefix(line, `'\"`) {
			for dash.MatchString(line) {
				line = dash.ReplaceAllString(line, `$1\-`)
			}
			line = strings.NewReplacer("'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(line)
		}
		b.WriteString(line)
	}
	return b.String()
}
