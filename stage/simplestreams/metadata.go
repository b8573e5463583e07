package simplestreams

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Metadata is the content of the metadata.yaml of an image (lxc/incus shared/api,
// ImageMetadata).
type Metadata struct {
	Architecture string    // as written: x86_64, or an alias such as amd64
	Created      time.Time // UTC, whole seconds
	Expires      time.Time // UTC; zero for never
	OS           string    // the property os; likewise below
	Release      string
	Variant      string
	Properties   map[string]string // all of them, never nil
	VM           bool              // the tarball has a rootfs.img: a unified virtual machine (lxc/incus#3386)
}

// ErrBadMetadata means that a metadata.yaml does not describe an image.
var ErrBadMetadata = errors.New("metadata.yaml does not describe an image")

// maxDepth limits the nesting of metadata.yaml. Templates need four levels.
const maxDepth = 32

// ReadMetadata reads the metadata.yaml of a metadata tarball or of a unified
// image. That is a tar archive, plain or compressed with gzip, xz, zstd or bzip2,
// which it recognizes by the first bytes. It reads the tarball to its end. It
// unpacks at most 256 MiB, or a hundred times what it has read if that is more.
//
// Its errors wrap [ErrNotTarball], [ErrDamaged], [ErrTooLarge], [ErrNoMetadata]
// or [ErrBadMetadata], or are r's.
func ReadMetadata(r io.Reader) (*Metadata, error) {
	body, vm, err := findMetadata(r)
	if err != nil {
		return nil, err
	}
	m, err := parseMetadata(body)
	if err == nil {
		m.VM = vm
	}
	return m, err
}

func badMetadata(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadMetadata, fmt.Sprintf(format, args...))
}

// parseMetadata reads the fields that incus-simplestreams reads. It requires what
// clients need: a known architecture and a date. It takes values as text, because
// as a number the release 22.10 would become 22.1.
func parseMetadata(body []byte) (*Metadata, error) {
	fields, err := parseYAML(body)
	if err != nil {
		return nil, err
	}
	m := &Metadata{Properties: map[string]string{}}
	if m.Architecture, err = scalar(fields["architecture"]); err != nil {
		return nil, badMetadata("architecture %v", err)
	}
	if m.Architecture == "" {
		return nil, badMetadata("it has no architecture")
	}
	if _, ok := Architecture(m.Architecture); !ok {
		return nil, badMetadata("clients know no architecture %q", m.Architecture)
	}
	if m.Created, err = date(fields["creation_date"]); err != nil {
		return nil, badMetadata("creation_date %v", err)
	}
	if m.Created.IsZero() {
		return nil, badMetadata("it has no creation_date")
	}
	if m.Expires, err = date(fields["expiry_date"]); err != nil {
		return nil, badMetadata("expiry_date %v", err)
	}
	properties, err := mapping(fields["properties"])
	if err != nil {
		return nil, badMetadata("properties %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if m.Properties[name], err = scalar(properties[name]); err != nil {
			return nil, badMetadata("the property %s %v", show(name), err)
		}
	}
	m.OS, m.Release = m.Properties["os"], m.Properties["release"]
	m.Variant = m.Properties["variant"]
	return m, nil
}

// parseYAML returns the fields of the first document that is not empty.
func parseYAML(body []byte) (map[string]*yaml.Node, error) {
	if bytes.IndexByte(body, 0) >= 0 {
		return nil, badMetadata("it is not text")
	}
	for dec := yaml.NewDecoder(bytes.NewReader(body)); ; {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return nil, badMetadata("it is empty")
		} else if err != nil {
			return nil, badMetadata("it is not YAML: %s", strings.TrimPrefix(firstLine(err), "yaml: "))
		}
		n := &doc
		if n.Kind == yaml.DocumentNode {
			n = n.Content[0]
		}
		if err := checkNode(n, 0); err != nil {
			return nil, err
		}
		if null(n) {
			continue
		}
		fields, err := mapping(n)
		if err != nil {
			return nil, badMetadata("it %v", err)
		}
		return fields, nil
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// checkNode rejects anchors, aliases and deep nesting. No tool writes them into a
// metadata.yaml, and with them a small document could need much memory.
func checkNode(n *yaml.Node, depth int) error {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "", n.ShortTag() == "!!merge":
		return badMetadata("line %d: it has anchors or aliases", n.Line)
	case depth > maxDepth:
		return badMetadata("line %d: it is nested too deep", n.Line)
	}
	for _, c := range n.Content {
		if err := checkNode(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func null(n *yaml.Node) bool { return n == nil || n.ShortTag() == "!!null" }

// mapping returns the fields of a mapping; for null none.
func mapping(n *yaml.Node) (map[string]*yaml.Node, error) {
	fields := map[string]*yaml.Node{}
	if null(n) {
		return fields, nil
	}
	if n.Kind != yaml.MappingNode {
		return nil, errors.New("is not a mapping")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		fields[n.Content[i].Value] = n.Content[i+1]
	}
	return fields, nil
}

// scalar returns the text of a value as it is written; "" for null.
func scalar(n *yaml.Node) (string, error) {
	switch {
	case null(n):
		return "", nil
	case n.Kind != yaml.ScalarNode:
		return "", errors.New("is not a text")
	}
	return n.Value, nil
}

// date reads seconds since 1970; for null and for 0 it returns the zero time.
func date(n *yaml.Node) (time.Time, error) {
	text, err := scalar(n)
	if err != nil {
		return time.Time{}, err
	}
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("%s is not a number of seconds", show(text[:min(len(text), 40)]))
	case seconds < 0:
		return time.Time{}, fmt.Errorf("%d lies before 1970", seconds)
	case seconds >= 253402300800:
		return time.Time{}, fmt.Errorf("%d lies after the year 9999", seconds)
	case seconds == 0:
		return time.Time{}, nil
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// VersionName returns the name of a version that was made at t: YYYYMMDD_HH:MM,
// always in UTC.
func VersionName(t time.Time) string { return t.UTC().Format("20060102_15:04") }
