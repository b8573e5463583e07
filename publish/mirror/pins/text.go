package pins

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// version is that of the file's form. A file of another one is refused.
const version = 1

const head = `# What names of other servers stand for here. publish mirror writes this file; keep it under
# version control. Comments in it are not kept.
`

// encode returns the text of the file: the same for the same entries.
func encode(list []Entry) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sversion: %d\n", head, version)
	if len(list) == 0 {
		b.WriteString("images: []\n")
		return b.Bytes()
	}
	b.WriteString("images:\n")
	for _, e := range list {
		line := func(key, value string) {
			for _, part := range []string{key, ": ", value, "\n"} {
				b.WriteString(part)
			}
		}
		line("  - canonical", word(e.Canonical))
		line("    requested", word(e.Requested))
		if e.Digest != "" {
			line("    digest", word(e.Digest))
		}
		if len(e.Platforms) > 0 {
			line("    platforms", words(e.Platforms))
		}
		if e.Newest > 0 {
			line("    newest", strconv.Itoa(e.Newest))
		}
		if len(e.Filters) > 0 {
			line("    filters", words(e.Filters))
		}
		if len(e.Products) > 0 {
			b.WriteString("    products:\n")
		}
		for _, product := range slices.Sorted(maps.Keys(e.Products)) {
			fmt.Fprintf(&b, "      %s:\n", word(product))
			for _, v := range slices.Sorted(maps.Keys(e.Products[product])) {
				fmt.Fprintf(&b, "        %s:\n", word(v))
				files := e.Products[product][v]
				for _, name := range slices.Sorted(maps.Keys(files)) {
					line("          "+word(name), word(files[name]))
				}
			}
		}
	}
	return b.Bytes()
}

// plain reports whether YAML, of whatever version, reads s as text without quotes. It begins
// with a letter, and no word of YAML has one of the characters . / : @ inside. What YAML
// takes for more than text needs a space beside it, or a comma or a bracket.
func plain(s string) bool {
	parts := false
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		inside := i > 0 && i < len(s)-1
		switch {
		case letter, i > 0 && '0' <= c && c <= '9', inside && strings.IndexByte("_+-", c) >= 0:
		case inside && strings.IndexByte("./:@", c) >= 0:
			parts = true
		default:
			return false
		}
	}
	return parts
}

// word is a text as YAML has it. Go's escapes are also those of YAML.
func word(s string) string {
	if plain(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

func words(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = word(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// lineError is what is wrong with a line of the file, counted from 1; 0 for the whole.
type lineError struct {
	line int
	fact string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.fact) }

func bad(n *yaml.Node, format string, args ...any) error {
	return &lineError{n.Line, fmt.Sprintf(format, args...)}
}

var yamlLine = lazyregexp.New(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// decode reads the text of a file. place returns where the image of an entry lies in the
// tree; "" for nowhere. The error is a *lineError.
func decode(data []byte, place func(Entry) string) (*Set, error) {
	doc, err := document(data)
	if err != nil {
		return nil, err
	}
	var images *yaml.Node
	said := false
	if err := pairs(doc, func(key, value *yaml.Node) error {
		switch key.Value {
		case "version":
			if text, err := scalar(value); err != nil {
				return err
			} else if text != strconv.Itoa(version) {
				return bad(value, "version %s: this publish knows version %d", catalog.Show(short(text)), version)
			}
			said = true
		case "images":
			images = value
		default:
			return unknown(key)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if !said {
		return nil, bad(doc, "has no version")
	}
	if images == nil {
		return nil, bad(doc, "has no images")
	}
	list, err := items(images)
	if err != nil {
		return nil, err
	}
	s := &Set{places: map[string]string{}}
	lines := map[string]int{} // of canonical names
	for _, n := range list {
		e, err := entry(n)
		if err != nil {
			return nil, err
		}
		if line, ok := lines[e.Canonical]; ok {
			return nil, bad(n, "%s: is in line %d already", catalog.Show(short(e.Canonical)), line)
		}
		lines[e.Canonical] = n.Line
		if other := s.take(e, place); other != "" {
			return nil, bad(n, "%s: would lie in the tree where %s is", catalog.Show(short(e.Canonical)),
				catalog.Show(short(other)))
		}
	}
	sort(s.entries)
	return s, nil
}

// take adds an entry, unless another name has its place in the tree: that is returned.
func (s *Set) take(e Entry, place func(Entry) string) (other string) {
	base, _ := e.Base()
	if at := place(e); at != "" {
		if other = s.places[at]; other != "" && other != base {
			return other
		}
		s.places[at] = base
	}
	s.entries = append(s.entries, e)
	return ""
}

// document returns the mapping that a text is.
func document(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, &lineError{1, "is empty; a lock file that locks nothing is a missing one"}
	}
	if err == nil {
		switch err = dec.Decode(&more); {
		case errors.Is(err, io.EOF):
			err = nil
		case err == nil:
			return nil, bad(&more, "a second document begins")
		}
	}
	if err != nil {
		m := yamlLine.FindStringSubmatch(err.Error())
		line, _ := strconv.Atoi(m[1])
		return nil, &lineError{line, catalog.Show(short(m[2]))}
	}
	if len(doc.Content) != 1 {
		return nil, &lineError{1, "is no YAML with keys and values"}
	}
	return doc.Content[0], nil
}

// entry reads one item of images.
func entry(n *yaml.Node) (Entry, error) {
	var e Entry
	at := map[string]*yaml.Node{}
	err := pairs(n, func(key, value *yaml.Node) (err error) {
		at[key.Value] = value
		switch key.Value {
		case "canonical":
			e.Canonical, err = scalar(value)
		case "requested":
			e.Requested, err = scalar(value)
		case "digest":
			e.Digest, err = scalar(value)
		case "platforms":
			e.Platforms, err = texts(value)
		case "filters":
			e.Filters, err = texts(value)
		case "newest":
			var text string
			if text, err = scalar(value); err == nil {
				if e.Newest, err = strconv.Atoi(text); err != nil {
					err = bad(value, "newest: %s is no number", catalog.Show(short(text)))
				}
			}
		case "products":
			e.Products, err = products(value)
		default:
			err = unknown(key)
		}
		return err
	})
	if err != nil {
		return e, err
	}
	for _, key := range []string{"canonical", "requested"} {
		if at[key] == nil {
			return e, bad(n, "an image without the key %s", key)
		}
	}
	if key, fact := e.problem(); key != "" {
		return e, bad(at[key], "%s: %s", key, fact)
	}
	return e.normal(), nil
}

func products(n *yaml.Node) (map[string]Versions, error) {
	out := map[string]Versions{}
	return out, pairs(n, func(product, value *yaml.Node) error {
		versions := Versions{}
		out[product.Value] = versions
		return pairs(value, func(version, value *yaml.Node) error {
			files := map[string]string{}
			versions[version.Value] = files
			return pairs(value, func(name, value *yaml.Node) (err error) {
				files[name.Value], err = scalar(value)
				return err
			})
		})
	})
}

func unknown(key *yaml.Node) error {
	return bad(key, "unknown key %s", catalog.Show(short(key.Value)))
}

// usual refuses what no entry needs: a type, or a name for a part that stands elsewhere
// again. Such a name could also make a small text large.
func usual(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return bad(n, "has an alias, an anchor or a tag, which mean nothing here")
	}
	return nil
}

// pairs calls f for each key of a mapping.
func pairs(n *yaml.Node, f func(key, value *yaml.Node) error) error {
	if err := usual(n); err != nil {
		return err
	}
	if n.Kind != yaml.MappingNode {
		return bad(n, "has no keys and values where they are expected")
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if _, err := scalar(key); err != nil {
			return err
		}
		if seen[key.Value] {
			return bad(key, "the key %s stands there twice", catalog.Show(short(key.Value)))
		}
		seen[key.Value] = true
		if err := f(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func items(n *yaml.Node) ([]*yaml.Node, error) {
	if err := usual(n); err != nil {
		return nil, err
	}
	if n.Kind != yaml.SequenceNode {
		return nil, bad(n, "has no list where one is expected")
	}
	return n.Content, nil
}

func texts(n *yaml.Node) ([]string, error) {
	list, err := items(n)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, item := range list {
		if out[i], err = scalar(item); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// scalar returns a text as it is written: 20260101 stays that.
func scalar(n *yaml.Node) (string, error) {
	if err := usual(n); err != nil {
		return "", err
	}
	if n.Kind != yaml.ScalarNode {
		return "", bad(n, "has a list, or keys and values, where a text is expected")
	}
	return n.Value, nil
}
