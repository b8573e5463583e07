package publish

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"example.com/publish/stage/durable"
)

// MirrorRequests is the key mirror.requests.
type MirrorRequests struct {
	Directory string `yaml:"directory"` // relative to the repository; "": nobody asks by file
}

// MirrorNotify is who is told of jobs: one of Webhook, Command and File.
type MirrorNotify struct {
	Webhook    string   `yaml:"webhook"`     // a URL
	SecretFile string   `yaml:"secret_file"` // what a webhook signs with; relative to the repository
	Command    []string `yaml:"command"`     // argv
	File       string   `yaml:"file"`        // that gets a line for each; relative to the repository
	Events     []string `yaml:"events"`      // of NoticeEvents; none: all
}

// NoticeEvents are what receivers may be told of.
var NoticeEvents = []string{"staged", "published", "failed", "drift", "denied"}

// DirectoryIn returns the absolute path of the directory, for the repository at dir; "" if
// there is none.
func (c MirrorRequests) DirectoryIn(dir string) string { return absolute(dir, c.Directory) }

// absolute is a path of publish.yaml, for the repository at dir; "" stays.
func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// FileIn and SecretIn are like DirectoryIn.
func (c MirrorNotify) FileIn(dir string) string   { return absolute(dir, c.File) }
func (c MirrorNotify) SecretIn(dir string) string { return absolute(dir, c.SecretFile) }

// String names a receiver for people. The path and the query of a webhook may be secrets.
func (c MirrorNotify) String() string {
	switch {
	case c.Webhook != "":
		u, err := url.Parse(c.Webhook)
		if err != nil || u.Host == "" {
			return "webhook"
		}
		return "webhook " + u.Scheme + "://" + u.Host
	case len(c.Command) > 0:
		return "command " + c.Command[0]
	}
	return "file " + c.File
}

// checkNotify returns everything that is wrong with Requests and Notify.
func (c *MirrorConfig) checkNotify() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("mirror.%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if strings.ContainsRune(c.Requests.Directory, 0) {
		bad("requests.directory", "%q is no path", c.Requests.Directory)
	}
	for i, n := range c.Notify {
		kinds := 0
		for _, is := range []bool{n.Webhook != "", len(n.Command) > 0, n.File != ""} {
			if is {
				kinds++
			}
		}
		if kinds != 1 {
			bad("notify", "entry %d needs one of webhook, command and file", i+1)
		}
		if n.Webhook != "" {
			// The value stays out of the messages: it may hold a secret.
			if u, err := url.Parse(n.Webhook); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				bad("notify", "the webhook of entry %d is no address such as https://hooks.example.com/publish", i+1)
			} else if u.User != nil {
				bad("notify", "the webhook of entry %d has a user: use secret_file", i+1)
			}
		}
		if n.SecretFile != "" && n.Webhook == "" {
			bad("notify", "secret_file of entry %d belongs to a webhook", i+1)
		}
		if len(n.Command) > 0 && n.Command[0] == "" {
			bad("notify", "the command of entry %d is empty", i+1)
		}
		for k, other := range c.Notify[:i] {
			if n.Webhook == other.Webhook && n.File == other.File && slices.Equal(n.Command, other.Command) {
				bad("notify", "entries %d and %d are the same receiver: one of them can have the events of both", k+1, i+1)
			}
		}
		for _, e := range n.Events {
			if !slices.Contains(NoticeEvents, e) {
				bad("notify", "%q is not one of %s", e, strings.Join(NoticeEvents, ", "))
			}
		}
	}
	return errors.Join(errs...)
}

// mirrorWarnings are about requests that nobody takes, or that are all denied.
func (c *Config) mirrorWarnings() (out []string) {
	asked, served := c.Mirror.Requests.Directory, c.Serve.Requests
	if asked != "" && len(c.Mirror.Allow) == 0 {
		out = append(out, "mirror.requests.directory: mirror.allow is empty, so every request is denied")
	}
	if served != "" && asked == "" {
		out = append(out, "serve.requests: mirror.requests.directory is empty, so nobody takes what is asked for")
	}
	return out
}

// checkMirrorPaths returns an error if publish.yaml of the repository at dir has requests or
// notices where they must not be.
func (c *Config) checkMirrorPaths(dir string) error {
	var errs []error
	check := func(key, text, path string, directory bool) {
		if path == "" {
			return
		}
		why, err := c.within(dir, path)
		if err == nil && why == "" && directory {
			why, err = around(dir, path)
		}
		if err == nil && why != "" {
			err = fmt.Errorf("%s: %s %s", key, text, why)
		}
		errs = append(errs, err)
	}
	check("mirror.requests.directory", c.Mirror.Requests.Directory, c.Mirror.Requests.DirectoryIn(dir), true)
	check("serve.requests", c.Serve.Requests, absolute(dir, c.Serve.Requests), true)
	for _, n := range c.Mirror.Notify {
		check("mirror.notify", n.File, n.FileIn(dir), false)
	}
	return errors.Join(errs...)
}

// around says whether the directory at path has the repository at dir in it: each file in
// a directory of requests is taken, and removed.
func around(dir, path string) (why string, err error) {
	own, err := durable.Resolve(dir)
	if err != nil {
		return "", err
	}
	real, err := target(path)
	if err != nil {
		return "", err
	}
	for _, d := range durable.Above(own) {
		if same, err := durable.SameFile(d, real); d == real || err == nil && same {
			return fmt.Sprintf("has the repository %s in it", own), nil
		}
	}
	return "", nil
}

// CheckRequests returns an error if a directory cannot be one of requests.
func (r *Repo) CheckRequests(path string) error {
	if err := r.CheckOutside(path); err != nil {
		return err
	}
	why, err := around(r.Dir, path)
	if err != nil || why == "" {
		return err
	}
	return &Error{Kind: Usage, Path: path, Fact: why, Hint: "name a directory of its own"}
}

// StrictYAML reads a document of strangers into v, as publish.yaml is read: a key that v
// does not have is an error, and errors name the line. References within the document are
// refused: a few bytes of them could stand for many.
func StrictYAML(data []byte, v any) error {
	if len(data) > maxConfig {
		return fmt.Errorf("%w: more than %d bytes", durable.ErrTooLong, maxConfig)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("is empty")
		}
		return plainYAML(err)
	}
	if err := noAliases(&doc, 0); err != nil {
		return err
	}
	body, err := decodeYAML(data, v)
	if err == nil && body == nil {
		err = errors.New("is empty")
	}
	return err
}

func noAliases(n *yaml.Node, depth int) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return fmt.Errorf("line %d: a reference (& or *) has no meaning here; write the value", n.Line)
	}
	if depth > maxNesting {
		return fmt.Errorf("line %d: is nested too deep", n.Line)
	}
	for _, c := range n.Content {
		if err := noAliases(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}
