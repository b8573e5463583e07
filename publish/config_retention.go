package publish

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"example.com/publish/retention"
)

// RetentionRule is a retention.Rule as publish.yaml spells it.
type RetentionRule struct {
	Match       string   `yaml:"match" json:"match"`
	KeepLast    Count    `yaml:"keep_last" json:"keep_last"`
	KeepWithin  Duration `yaml:"keep_within" json:"keep_within"`
	KeepDaily   Count    `yaml:"keep_daily" json:"keep_daily"`
	KeepWeekly  Count    `yaml:"keep_weekly" json:"keep_weekly"`
	KeepMonthly Count    `yaml:"keep_monthly" json:"keep_monthly"`
	MinVersions *Count   `yaml:"min_versions" json:"min_versions"` // nil: retention.DefaultMinVersions
	Keep        string   `yaml:"keep" json:"keep"`                 // "" or all
	Expired     string   `yaml:"expired" json:"expired"`           // "" or remove
}

// Count is a whole number. Decoding 0.5 is an error; into an int, the YAML decoder
// would silently turn it into 0.
type Count int

// UnmarshalYAML reads a Count. Its error names the line.
func (c *Count) UnmarshalYAML(n *yaml.Node) error {
	i, err := strconv.Atoi(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return badValue(n, "is not a whole number")
	}
	*c = Count(i)
	return nil
}

// Policy returns the policy that the rules under retention describe.
func (c *Config) Policy() retention.Policy { return policy(c.Retention) }

func policy(rules []RetentionRule) retention.Policy {
	var p retention.Policy
	for _, r := range rules {
		p.Rules = append(p.Rules, retention.Rule{Match: r.Match, KeepLast: int(r.KeepLast),
			KeepWithin: time.Duration(r.KeepWithin), KeepDaily: int(r.KeepDaily),
			KeepWeekly: int(r.KeepWeekly), KeepMonthly: int(r.KeepMonthly), KeepAll: r.Keep == "all",
			RemoveExpired: r.Expired == "remove", MinVersions: (*int)(r.MinVersions)})
	}
	return p
}

// checkRetention reports everything that is wrong with the rules, each with its line
// in the document.
func checkRetention(rules []RetentionRule, doc *yaml.Node) error {
	var errs []error
	bad := func(i int, key string, err error) {
		errs = append(errs, fmt.Errorf("%sretention: %w", ruleLine(doc, "retention", i, key), err))
	}
	for i, r := range rules {
		for _, word := range []struct{ key, value, only string }{{"keep", r.Keep, "all"},
			{"expired", r.Expired, "remove"}} {
			if word.value != "" && word.value != word.only {
				bad(i, word.key, fmt.Errorf("rule %d (%s): %s: %q is not %s", i+1, r.Match, word.key, word.value,
					word.only))
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if all, ok := policy(rules).Check().(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			var rule *retention.RuleError
			if errors.As(err, &rule) {
				bad(rule.Rule-1, rule.Key, err)
			}
		}
	}
	return errors.Join(errs...)
}

// ruleLine returns "line N: " for a key of element i of a list, or for the element if
// it lacks the key; "" if the line is unknown.
func ruleLine(doc *yaml.Node, list string, i int, key string) string {
	rules := valueOf(doc, list)
	if rules == nil || i >= len(rules.Content) {
		return ""
	}
	at := rules.Content[i]
	if v := valueOf(at, key); v != nil {
		at = v
	}
	return fmt.Sprintf("line %d: ", at.Line)
}
