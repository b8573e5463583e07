package publish

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// ConfigReport is the result of CheckConfig.
type ConfigReport struct {
	Path string `json:"path"`
	OK   bool   `json:"ok"` // no finding is an error
	// Findings are sorted by line.
	Findings []ConfigFinding `json:"findings"`
	// Values are the settings that differ from the defaults, in the order of the
	// documentation. There are none if the file cannot be parsed.
	Values []ConfigValue `json:"values"`
}

// ConfigFinding is one fault of publish.yaml.
type ConfigFinding struct {
	Severity catalog.Severity `json:"severity"`
	Line     int              `json:"line"` // 0 if unknown
	Message  string           `json:"message"`
}

// ConfigValue is a key of publish.yaml with its value in YAML's flow style, on
// one line.
type ConfigValue struct {
	Key   string `json:"key"` // such as generations.keep
	Value any    `json:"value"`
	text  string
}

func (v ConfigValue) String() string { return v.Key + ": " + v.text }

// CheckConfig reads publish.yaml of the repository at dir and reports everything that
// is wrong with it. A missing file counts as empty. It returns an error only if the
// file cannot be read.
func CheckConfig(dir string, choices Choices) (*ConfigReport, error) {
	path := filepath.Join(dir, ConfigName)
	out := &ConfigReport{Path: path, Findings: []ConfigFinding{}, Values: []ConfigValue{}}
	data, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	c, doc, err := parseConfig(data, choices)
	if c != nil && (err == nil || !strings.Contains(err.Error(), "production: ")) {
		err = errors.Join(err, c.checkProduction(dir))
	}
	if c != nil {
		err = errors.Join(err, c.checkAccessLog(dir), c.checkMirrorPaths(dir))
	}
	out.find(catalog.Error, doc, err)
	if c == nil {
		return out, nil
	}
	for _, w := range c.Warnings(choices) {
		out.find(catalog.Warning, doc, errors.New(w))
	}
	out.OK = out.sound()
	differing(reflect.ValueOf(*c), reflect.ValueOf(*DefaultConfig(choices)), "", &out.Values)
	slices.SortStableFunc(out.Findings, func(a, b ConfigFinding) int { return a.Line - b.Line })
	return out, nil
}

func (r *ConfigReport) sound() bool {
	return !slices.ContainsFunc(r.Findings, func(f ConfigFinding) bool { return f.Severity == catalog.Error })
}

var (
	lineFirst = lazyregexp.New(`^(?:yaml: )?line (\d+)(?:, column \d+)?: `)
	keyFirst  = lazyregexp.New(`^([a-z_]+(?:\.[a-z_]+)*): `)
)

// find adds a finding for each line of the error's text. If the line of text does not
// begin with a line number, the key that it begins with gives the number.
func (r *ConfigReport) find(s catalog.Severity, doc *yaml.Node, err error) {
	if err == nil {
		return
	}
	for text := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		f := ConfigFinding{Severity: s, Message: text}
		if m := lineFirst.FindStringSubmatch(text); m != nil {
			f.Line, _ = strconv.Atoi(m[1]) // digits
			f.Message = strings.TrimPrefix(text, m[0])
		} else if m := keyFirst.FindStringSubmatch(text); m != nil {
			f.Line = lineOf(doc, m[1])
		}
		r.Findings = append(r.Findings, f)
	}
}

// lineOf returns the line of the value of a key such as generations.keep; 0 if the
// document does not have the key.
func lineOf(doc *yaml.Node, key string) int {
	for part := range strings.SplitSeq(key, ".") {
		if doc = valueOf(doc, part); doc == nil {
			return 0
		}
	}
	return doc.Line
}

// differing appends the keys whose values in c differ from the defaults.
func differing(c, defaults reflect.Value, prefix string, out *[]ConfigValue) {
	for i := range c.NumField() {
		key := prefix + c.Type().Field(i).Tag.Get("yaml")
		a, b := c.Field(i), defaults.Field(i)
		if a.Kind() == reflect.Struct {
			differing(a, b, key+".", out)
			continue
		}
		if reflect.DeepEqual(a.Interface(), b.Interface()) || (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) &&
			a.Len()+b.Len() == 0 {
			continue
		}
		value := written(a)
		text, isText := value.(string)
		if data, err := json.Marshal(value); err == nil && !isText {
			text = string(data) // JSON is YAML, in flow style
		}
		*out = append(*out, ConfigValue{key, value, text})
	}
}

// written returns a value as publish.yaml spells it.
func written(v reflect.Value) any {
	switch v := v.Interface().(type) {
	case Duration:
		return v.String()
	case Size:
		return v.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return written(v.Elem())
	case reflect.Slice:
		list := make([]any, 0, v.Len())
		for i := range v.Len() {
			list = append(list, written(v.Index(i)))
		}
		return list
	case reflect.Map:
		keys := map[string]any{}
		for _, key := range v.MapKeys() {
			keys[key.String()] = written(v.MapIndex(key))
		}
		return keys
	case reflect.Struct:
		keys := map[string]any{}
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				keys[v.Type().Field(i).Tag.Get("yaml")] = written(f)
			}
		}
		return keys
	}
	return v.Interface()
}
