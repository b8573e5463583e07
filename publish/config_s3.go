package publish

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/lazyregexp"
)

// S3Config is the key s3 of publish.yaml: how an object store is reached that is
// production. Who may write there is found as the store's own tools find it, never here.
type S3Config struct {
	Endpoint    string            `yaml:"endpoint"`   // a URL; "": the provider of the name S3
	Region      string            `yaml:"region"`     // "": as the environment says
	PathStyle   PathStyle         `yaml:"path_style"` // whether the bucket stands in the path of URLs
	Readers     Readers           `yaml:"readers"`
	PartSize    Size              `yaml:"part_size"`   // larger objects go in parts
	Concurrency int               `yaml:"concurrency"` // uploads at once
	Timeout     Duration          `yaml:"timeout"`     // without progress
	Headers     map[string]string `yaml:"headers"`     // are sent with each request
	Cache       S3Cache           `yaml:"cache"`
}

// S3Cache is the Cache-Control of objects.
type S3Cache struct {
	Content string `yaml:"content"` // what never changes
	Mutable string `yaml:"mutable"`
}

// PathStyle is auto, true or false.
type PathStyle string

// The values of PathStyle.
const (
	PathStyleAuto PathStyle = "auto"
	PathStyleOn   PathStyle = "true"
	PathStyleOff  PathStyle = "false"
)

// Readers says who reads the objects.
type Readers string

const (
	// ReadersBucket: clients read the objects themselves, or a CDN does for them.
	ReadersBucket Readers = "bucket"
	// ReadersServe: only publish serve reads them.
	ReadersServe Readers = "serve"
)

// urlLike is what is meant as a URL, and is no path that anybody wants.
var urlLike = lazyregexp.New(`^([a-zA-Z][a-zA-Z0-9+.-]*://|[sS]3:)`)

const (
	schemeS3    = "s3://"
	leastPart   = 5 << 20 // of the protocol
	largestPart = 5 << 30
)

func (c *S3Config) setDefaults() {
	c.PathStyle, c.Readers = PathStyleAuto, ReadersBucket
	c.PartSize, c.Concurrency, c.Timeout = 16<<20, 8, Duration(time.Minute)
	c.Cache = S3Cache{Content: "public, max-age=31536000, immutable", Mutable: "no-cache"}
}

func (c *S3Config) check() error {
	err := errors.Join(oneOf("s3.path_style", c.PathStyle, PathStyleAuto, PathStyleOn, PathStyleOff),
		oneOf("s3.readers", c.Readers, ReadersBucket, ReadersServe))
	if c.PartSize < leastPart || c.PartSize > largestPart {
		err = errors.Join(err, fmt.Errorf("s3.part_size: %s is not between 5MiB and 5GiB", c.PartSize))
	}
	if c.Concurrency < 1 || c.Concurrency > 256 {
		err = errors.Join(err, fmt.Errorf("s3.concurrency: %d is not between 1 and 256", c.Concurrency))
	}
	if c.Timeout == 0 {
		err = errors.Join(err, errors.New("s3.timeout: 0 would end every request at once"))
	}
	return err
}

// UnmarshalYAML reads an S3Config; keys that are missing have their defaults. It has this form
// of the library's, so that unknown keys are refused in it, too.
func (c *S3Config) UnmarshalYAML(unmarshal func(any) error) error {
	if c.PathStyle == "" { // that of a target
		c.setDefaults()
	}
	type plain S3Config
	return unmarshal((*plain)(c))
}

// InStore reports whether production is in an object store.
func (c *Config) InStore() bool { return isStored(c.Production) }

func isStored(production string) bool { return strings.HasPrefix(production, schemeS3) }

// checkStore checks production, if it is in an object store.
func (c *Config) checkStore() error {
	if err := checkStoreURL(c.Production); err != nil {
		return fmt.Errorf("production: %q %w", c.Production, err)
	}
	return nil
}

// checkStoreURL says what is wrong with s3://BUCKET/PREFIX.
func checkStoreURL(text string) error {
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(text, schemeS3), "/")
	switch {
	case bucket == "":
		return errors.New("names no bucket")
	case strings.ContainsAny(bucket, "@?#:\\ ") || strings.HasPrefix(bucket, "-"):
		return fmt.Errorf("has %q for a bucket, which is no name of one; who may write is found as the store's own "+
			"tools find it", bucket)
	case strings.Trim(prefix, "/") == "":
		return fmt.Errorf("has no prefix: s3://%s/PREFIX, which belongs to publish alone", bucket)
	}
	for _, part := range strings.Split(strings.TrimSuffix(prefix, "/"), "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?#\\\x00\n") {
			return fmt.Errorf("has %q, which is not a prefix of keys", prefix)
		}
	}
	return nil
}

// placeIn tells one place in a store from another, as far as the configuration says it.
func placeIn(c *S3Config, url string) string {
	return strings.TrimSuffix(c.Endpoint, "/") + " " + strings.TrimSuffix(url, "/")
}

// takenBy returns what is at a place in a store, or around it, or in it; of a place on a
// machine, what is there; "" for nothing.
func takenBy(at map[string]string, place string) string {
	for _, other := range slices.Sorted(maps.Keys(at)) {
		name := at[other]
		if other == place || strings.Contains(place, schemeS3) && (strings.HasPrefix(place, other+"/") ||
			strings.HasPrefix(other, place+"/")) {
			return name
		}
	}
	return ""
}
