package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"example.com/publish/stage/lazyregexp"
)

// maxNesting is the maximum depth of a YAML document. publish.yaml needs four levels.
const maxNesting = 32

// decodeYAML reads the single document in data into v. A key that is missing, or has
// no value, leaves v's value as it is, which is the default. A key that v does not
// have is an error. It returns the document; nil if data is empty. The errors name the
// line.
func decodeYAML(data []byte, v any) (*yaml.Node, error) {
	var doc *yaml.Node
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var n yaml.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, plainYAML(err)
		}
		body := &n
		if n.Kind == yaml.DocumentNode {
			body = n.Content[0]
		}
		if body.ShortTag() == "!!null" {
			continue
		}
		if doc != nil {
			return nil, fmt.Errorf("line %d: a second document begins; one is enough", body.Line)
		}
		if err := checkYAML(body, 0); err != nil {
			return nil, err
		}
		doc = body
	}
	if doc == nil {
		return nil, nil
	}
	if doc.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: does not hold keys and values", doc.Line)
	}
	// Decode the text again: the library refuses unknown keys only when it decodes text.
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	for err := error(nil); err == nil; {
		if err = dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
			return nil, plainYAML(err)
		}
	}
	return doc, nil
}

// checkYAML refuses documents that are nested too deep. It also refuses explicit types
// (tags), because no key needs one.
func checkYAML(n *yaml.Node, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("line %d: is nested too deep", n.Line)
	}
	if n.Style&yaml.TaggedStyle != 0 {
		return fmt.Errorf("line %d: %s: a tag has no meaning here; leave it out", n.Line, n.Tag)
	}
	for _, c := range n.Content {
		if err := checkYAML(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// badValue is the error for a value that does not fit its type.
func badValue(n *yaml.Node, fact string) error {
	value := strconv.Quote(n.Value)
	if n.Kind != yaml.ScalarNode {
		value = "a list or mapping"
	}
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d, column %d: %s %s", n.Line, n.Column, value, fact)}}
}

// valueOf returns the value of a key of a mapping; nil if there is none.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

var (
	unknownKey = lazyregexp.New(`(?s)^(line \d+): field (.*) not found in type .*$`)
	wrongType  = lazyregexp.New("(?s)^(line \\d+): cannot unmarshal (!!\\w+)(?: `(.*)`)? into (.+)$")
)

// plainYAML rewrites an error of the YAML library without the names of Go types.
func plainYAML(err error) error {
	var list *yaml.TypeError
	if !errors.As(err, &list) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var all []error
	for _, text := range list.Errors {
		if m := unknownKey.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("%s: unknown key %q", m[1], m[2])
		} else if m := wrongType.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("%s: %s, where %s is expected", m[1], yamlKind(m[2], m[3]), goKind(m[4]))
		}
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}

func yamlKind(tag, value string) string {
	switch tag {
	case "!!seq":
		return "a list"
	case "!!map":
		return "a mapping"
	}
	return fmt.Sprintf("%q", value)
}

func goKind(name string) string {
	switch {
	case name == "string":
		return "text"
	case name == "bool":
		return "true or false"
	case name == "int":
		return "a whole number"
	case strings.HasPrefix(name, "[]"):
		return "a list"
	}
	return "a mapping"
}
