package publish

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"example.com/publish/retention"
	"example.com/publish/stage/catalog"
)

// TagRule is a retention.TagRule as publish.yaml spells it.
type TagRule struct {
	Repository string   `yaml:"repository" json:"repository"`
	Tag        string   `yaml:"tag" json:"tag"`
	KeepLast   Count    `yaml:"keep_last" json:"keep_last"`
	OlderThan  Duration `yaml:"older_than" json:"older_than"`
	Protect    []string `yaml:"protect" json:"protect"`
}

// Inventory is a file that lists images in use. publish.yaml may give the file alone.
type Inventory struct {
	File       string   `yaml:"file" json:"file"`               // relative to the repository, or absolute
	MaxAge     Duration `yaml:"max_age" json:"max_age"`         // 0: any age
	AllowEmpty bool     `yaml:"allow_empty" json:"allow_empty"` // a file without a reference is all right
}

// UnmarshalYAML reads an Inventory. Its errors name the line.
func (v *Inventory) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&v.File)
	}
	if n.Kind != yaml.MappingNode {
		return badValue(n, "is neither a file nor a mapping with one")
	}
	for i := 0; i < len(n.Content); i += 2 { // Decode of a node takes any key
		if k := n.Content[i]; !slices.Contains([]string{"file", "max_age", "allow_empty"}, k.Value) {
			return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: unknown key %q", k.Line, k.Value)}}
		}
	}
	type plain Inventory
	return n.Decode((*plain)(v))
}

// TagPolicy returns the policy that the rules under tags describe.
func (c *Config) TagPolicy() retention.TagPolicy { return tagPolicy(c.Tags) }

func tagPolicy(rules []TagRule) retention.TagPolicy {
	var p retention.TagPolicy
	for _, r := range rules {
		p.Rules = append(p.Rules, retention.TagRule{Repository: r.Repository, Tag: r.Tag, KeepLast: int(r.KeepLast),
			OlderThan: time.Duration(r.OlderThan), Protect: r.Protect})
	}
	return p
}

// checkTags reports everything that is wrong with the keys about tags, each with its
// line in the document.
func (c *Config) checkTags(doc *yaml.Node, choices Choices) error {
	var errs []error
	if all, ok := c.TagPolicy().Check().(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			var rule *retention.RuleError
			if errors.As(err, &rule) {
				errs = append(errs, fmt.Errorf("%stags: %w", ruleLine(doc, "tags", rule.Rule-1, rule.Key), err))
			}
		}
	}
	for i, v := range c.InUse {
		if v.File == "" {
			errs = append(errs, fmt.Errorf("%sin_use: does not name a file", ruleLine(doc, "in_use", i, "file")))
		}
	}
	tagger, ok := c.tagger(choices)
	for i, host := range c.ServedAs {
		if !ok {
			break
		}
		if problem := tagger.CheckHost(host); problem != "" {
			errs = append(errs, fmt.Errorf("%sserved_as: %q %s", ruleLine(doc, "served_as", i, ""), host, problem))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) tagger(choices Choices) (catalog.Tagger, bool) {
	if choices.Tagger == nil {
		return nil, false
	}
	return choices.Tagger(c.Format)
}

// idle returns a warning for each key that has no effect with the format.
func (c *Config) idle(tagged bool) (out []string) {
	for _, k := range []struct {
		key string
		set bool
		of  bool // whether it is for formats with tags
	}{
		{"retention", len(c.Retention) > 0, false}, {"tags", len(c.Tags) > 0, true},
		{"in_use", len(c.InUse) > 0, true}, {"served_as", len(c.ServedAs) > 0, true},
		{"immutable_tags", len(c.ImmutableTags) > 0, true}, {"sparse_indexes", c.SparseIndexes, true},
	} {
		if k.set && k.of != tagged {
			more := ""
			if !k.of {
				more = ": its rules stand under tags"
			}
			out = append(out, fmt.Sprintf("%s: has no effect in a repository of the format %s%s", k.key, c.Format, more))
		}
	}
	return out
}
