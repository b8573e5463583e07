package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"example.com/publish/publish/site"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Config is publish.yaml. Every key is optional.
type Config struct {
	Format      string      `yaml:"format"`     // see Choices
	Switch      string      `yaml:"switch"`     // the name of a site
	Production  string      `yaml:"production"` // what the web server serves; relative to the repository, or absolute
	Share       Share       `yaml:"share"`
	Links       stage.Links `yaml:"links"`   // for a tree with indexes
	Include     []string    `yaml:"include"` // published although no index names it; patterns of catalog.Globs
	Grace       Duration    `yaml:"grace"`
	OrphanGrace Duration    `yaml:"orphan_grace"` // 0: the same as Grace

	Generations struct {
		Keep int `yaml:"keep"` // so many of the newest, also after their window
	} `yaml:"generations"`
	Promote struct {
		Prune bool `yaml:"prune"`
	} `yaml:"promote"`
	Retention     []RetentionRule `yaml:"retention"`      // the first that matches a product decides; none: keep all
	Tags          []TagRule       `yaml:"tags"`           // likewise, in a format with tags
	ImmutableTags []string        `yaml:"immutable_tags"` // never stand for other content; see retention.NameGlob
	SparseIndexes bool            `yaml:"sparse_indexes"` // an index may list images that are not here
	InUse         []Inventory     `yaml:"in_use"`
	ServedAs      []string        `yaml:"served_as"` // our own names in inventories
	Serve         ServeConfig     `yaml:"serve"`
	Mirror        MirrorConfig    `yaml:"mirror"`
	S3            S3Config        `yaml:"s3"` // where production is s3://BUCKET/PREFIX
	// Targets follow production: see package fanout.
	Targets map[string]TargetConfig `yaml:"targets"`
	MaxLag  Duration                `yaml:"max_lag"` // of a target, before status --check reports it
	Sign    SignConfig              `yaml:"sign"`

	HealthCheck struct {
		Command []string `yaml:"command"` // argv; empty: none
		Timeout Duration `yaml:"timeout"`
	} `yaml:"health_check"`
	Hooks struct {
		BeforeSwitch []string `yaml:"before_switch"` // argv of one command; empty: none
		AfterSwitch  []string `yaml:"after_switch"`
		AfterPrune   []string `yaml:"after_prune"`
		AfterGC      []string `yaml:"after_gc"`
		Timeout      Duration `yaml:"timeout"`
	} `yaml:"hooks"`
}

// Share says how content gets from staging into a generation.
type Share string

const (
	// ShareAuto makes a reflink if the file system can; else a hard link, if
	// publish sealed the file; else a copy.
	ShareAuto Share = "auto"
	// ShareCopy never links.
	ShareCopy Share = "copy"
)

// ConfigName is the configuration's file name in a repository.
const ConfigName = "publish.yaml"

// maxConfig is the maximum size of publish.yaml in bytes. The YAML library takes some
// hundred bytes of memory for each.
const maxConfig = 256 << 10

// Choices lists the values that publish.yaml may choose from. Package publish knows no
// format and no site by name.
type Choices struct {
	Formats []string   // in the order of messages, the default first; none: any name is accepted
	Sites   site.Kinds // the default first
	// Tagger returns the format of this name if it has tags; nil: none has.
	Tagger func(format string) (catalog.Tagger, bool)
	// Format returns the format of a name; nil: init needs none.
	Format func(name string) catalog.Format
	// Store opens the object store that is production; dir is the repository. nil: there
	// are none.
	Store func(dir string, c *Config) (bucket.Store, error)
	sleep func(context.Context, time.Duration) error // see Options
	// Mirrored reports whether there are other servers of this format; nil: of each.
	Mirrored func(format string) bool
}

// DefaultConfig is what an empty publish.yaml means.
func DefaultConfig(choices Choices) *Config {
	c := &Config{Production: "production", Share: ShareAuto, Links: stage.FollowLinks, Grace: Duration(2 * time.Hour),
		MaxLag: Duration(time.Hour)}
	if len(choices.Formats) > 0 {
		c.Format = choices.Formats[0]
	}
	if sites := choices.Sites.Names(); len(sites) > 0 {
		c.Switch = sites[0]
	}
	c.HealthCheck.Timeout = Duration(30 * time.Second)
	c.Hooks.Timeout = Duration(60 * time.Second)
	c.Serve.setDefaults()
	c.Mirror.setDefaults()
	c.S3.setDefaults()
	return c
}

// LoadConfig reads publish.yaml of the repository at dir. A missing file is an
// empty one. The error is of kind Usage and names the line.
func LoadConfig(dir string, choices Choices) (*Config, error) {
	path := filepath.Join(dir, ConfigName)
	data, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	c, _, err := parseConfig(data, choices)
	if err == nil {
		err = c.checkProduction(dir)
	}
	if err != nil {
		return nil, &Error{Kind: Usage, Path: path, Fact: strings.TrimSpace(err.Error()),
			Hint: "publish config check shows all that is wrong in it, and publish help config every key"}
	}
	return c, nil
}

// readConfig returns the text of publish.yaml; nil if it is missing.
func readConfig(path string) ([]byte, error) {
	f, err := durable.OpenNamed(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := durable.ReadBounded(f, maxConfig)
	if err != nil {
		return nil, &Error{Kind: Usage, Path: path, Err: err}
	}
	return data, nil
}

// parseConfig reads and checks the text of publish.yaml. The configuration is nil if
// the text cannot be parsed. The document is nil if the text is empty.
func parseConfig(data []byte, choices Choices) (*Config, *yaml.Node, error) {
	c := DefaultConfig(choices)
	doc, err := decodeYAML(data, c)
	if err != nil {
		return nil, nil, err
	}
	return c, doc, c.checkAll(doc, choices)
}

// checkAll reports everything that is wrong with the values. Errors name the line in
// the document if it is known.
func (c *Config) checkAll(doc *yaml.Node, choices Choices) error {
	_, err := c.include(doc)
	_, err2 := c.immutable(doc)
	return errors.Join(c.check(choices), err, checkRetention(c.Retention, doc), c.checkTags(doc, choices), err2)
}

// include parses the patterns in Include. The errors name the lines in the document,
// if it is given.
func (c *Config) include(doc *yaml.Node) (*catalog.Globs, error) {
	globs := &catalog.Globs{}
	var errs []error
	for i, pattern := range c.Include {
		if err := globs.ParseGlob(pattern); err != nil {
			line := ""
			if list := valueOf(doc, "include"); list != nil && i < len(list.Content) {
				line = fmt.Sprintf("line %d: ", list.Content[i].Line)
			}
			errs = append(errs, fmt.Errorf("%sinclude: %q %w", line, pattern, err))
		}
	}
	return globs, errors.Join(errs...)
}

// production is the absolute path of production, or its URL, for the repository at dir.
func (c *Config) production(dir string) string {
	if c.InStore() {
		return strings.TrimSuffix(c.Production, "/")
	}
	if filepath.IsAbs(c.Production) {
		return filepath.Clean(c.Production)
	}
	return filepath.Join(dir, c.Production)
}

func (c *Config) check(choices Choices) error {
	formats := choices.Formats
	if len(formats) == 0 {
		formats = []string{c.Format}
	}
	err := errors.Join(
		oneOf("format", c.Format, formats...),
		choices.Sites.Check(c.Switch),
		oneOf("share", c.Share, ShareAuto, ShareCopy),
		oneOf("links", c.Links, stage.FollowLinks, stage.DropLinks, stage.RefuseLinks),
	)
	if c.HealthCheck.Timeout == 0 {
		err = errors.Join(err, errors.New("health_check.timeout: 0 would end every command at once"))
	}
	if c.Hooks.Timeout == 0 {
		err = errors.Join(err, errors.New("hooks.timeout: 0 would end every command at once"))
	}
	err = errors.Join(err, c.Serve.Check(), c.Mirror.Check(), c.S3.check(), c.checkTargets(), c.Sign.check())
	if choices.Tagger != nil {
		if _, tagged := choices.Tagger(c.Format); tagged {
			err = errors.Join(err, c.Mirror.checkTags())
		}
	}
	if c.Generations.Keep < 0 {
		err = errors.Join(err, fmt.Errorf("generations.keep: %d is negative", c.Generations.Keep))
	}
	if c.InStore() {
		err = errors.Join(err, c.checkStore())
	} else if urlLike.MatchString(c.Production) {
		err = errors.Join(err, fmt.Errorf("production: %q is neither a path nor s3://BUCKET/PREFIX", c.Production))
	} else if p := filepath.Clean(c.Production); c.Production == "" || p == "." || p == "/" ||
		strings.ContainsRune(c.Production, 0) {
		err = errors.Join(err, fmt.Errorf("production: %q cannot be switched", c.Production))
	}
	return err
}

func oneOf[T ~string](key string, value T, allowed ...T) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	list := make([]string, len(allowed))
	for i, a := range allowed {
		list[i] = string(a)
	}
	return fmt.Errorf("%s: %q is not one of %s", key, value, strings.Join(list, ", "))
}

// Warnings returns a warning for each setting that is allowed but unwise or has no
// effect.
func (c *Config) Warnings(choices Choices) []string {
	_, tagged := c.tagger(choices)
	out := append(c.idle(tagged), c.mirrorWarnings()...)
	if choices.Format != nil {
		out = append(out, c.Sign.warnings(c.Format, signs(choices.Format(c.Format)),
			c.InStore() && c.S3.Readers == ReadersBucket)...)
	}
	if choices.Mirrored != nil && !choices.Mirrored(c.Format) && !c.Mirror.isDefault() {
		out = append(out, "mirror: has no effect in a repository of the format "+c.Format)
	}
	if time.Duration(c.Grace) < time.Hour {
		out = append(out,
			fmt.Sprintf("grace: %s is less than the one hour for which clients keep an index: "+
				"they will meet missing files", c.Grace))
	}
	return out
}
