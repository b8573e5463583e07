package publish

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"

	"example.com/publish/stage/glob"
)

// MirrorConfig is the key mirror of publish.yaml.
type MirrorConfig struct {
	Allow      []string                  `yaml:"allow"` // names without tag and digest, as patterns; none: all
	Deny       []string                  `yaml:"deny"`  // likewise; wins
	Platforms  []string                  `yaml:"platforms"`
	Registries map[string]RegistryConfig `yaml:"registries"` // by host; "*": the others
	Map        []MirrorMap               `yaml:"map"`        // the first whose From begins a name decides
	Jobs       int                       `yaml:"jobs"`       // at once
	Blobs      int                       `yaml:"blobs"`      // at once in a job
	Retry      MirrorRetry               `yaml:"retry"`
	Timeouts   MirrorTimeouts            `yaml:"timeouts"`
	Limits     MirrorLimits              `yaml:"limits"`
	Address    string                    `yaml:"address"` // under which production is served, without a scheme
}

// RegistryConfig is how a registry is reached.
type RegistryConfig struct {
	Endpoints   []string `yaml:"endpoints"`   // URLs, tried in turn; none: https at the host itself
	Credentials string   `yaml:"credentials"` // a file as Docker writes it; "": Docker's own and its helpers
	CA          string   `yaml:"ca"`          // a file of certificates in PEM
	Insecure    bool     `yaml:"insecure"`    // its certificate is not checked
	Proxy       string   `yaml:"proxy"`       // a URL; "": as the environment says
	Connections int      `yaml:"connections"` // at once; 0: the default
	Requests    int      `yaml:"requests"`    // a second; 0: no limit
	Bandwidth   Size     `yaml:"bandwidth"`   // a second; 0: no limit
}

// MirrorMap puts images of other names elsewhere in the tree.
type MirrorMap struct {
	From string `yaml:"from"` // how the canonical name begins
	To   string `yaml:"to"`   // what stands there instead
}

// MirrorRetry says how failures are tried again.
type MirrorRetry struct {
	Times   int      `yaml:"times"`
	First   Duration `yaml:"first"` // the first pause; each further one is twice as long
	Most    Duration `yaml:"most"`  // the longest pause that publish chooses
	MaxWait Duration `yaml:"max_wait"`
}

// MirrorTimeouts bound the waiting for a server.
type MirrorTimeouts struct {
	Connect Duration `yaml:"connect"`
	Answer  Duration `yaml:"answer"` // to the headers of an answer
	Stall   Duration `yaml:"stall"`  // without a byte of a body
}

// MirrorLimits bound what a server can make of a request.
type MirrorLimits struct {
	Manifest Size `yaml:"manifest"`
	Image    Size `yaml:"image"`
	Blobs    int  `yaml:"blobs"`
	Depth    int  `yaml:"depth"`
	Free     Size `yaml:"free"` // what stays free on the file system
}

func (c *MirrorConfig) setDefaults() {
	c.Jobs, c.Blobs = 2, 3
	c.Retry = MirrorRetry{Times: 8, First: Duration(time.Second), Most: Duration(5 * time.Minute),
		MaxWait: Duration(24 * time.Hour)}
	c.Timeouts = MirrorTimeouts{Connect: Duration(10 * time.Second), Answer: Duration(time.Minute),
		Stall: Duration(time.Minute)}
	c.Limits = MirrorLimits{Manifest: 4 << 20, Image: 64 << 30, Blobs: 5000, Depth: 4, Free: 5 << 30}
}

// Registry returns how a host is reached.
func (c *MirrorConfig) Registry(host string) RegistryConfig {
	r, ok := c.Registries[host]
	if !ok {
		r = c.Registries["*"]
		r.Endpoints = nil // of one registry alone
	}
	if r.Connections == 0 {
		r.Connections = 4
	}
	return r
}

// Place returns the name that an image has in the tree, by its canonical name.
func (c *MirrorConfig) Place(canonical string) string {
	for _, m := range c.Map {
		if rest, ok := strings.CutPrefix(canonical, m.From); ok {
			return m.To + rest
		}
	}
	return canonical
}

// Allowed returns why an image with a name, without tag and digest, may not come; "" if
// it may.
func (c *MirrorConfig) Allowed(name string) (why string) {
	parts := strings.Split(name, "/")
	match := func(text string) bool {
		p, err := glob.Parse(text)
		return err == nil && p.Match(parts)
	}
	if i := slices.IndexFunc(c.Deny, match); i >= 0 {
		return fmt.Sprintf("mirror.deny has %q", c.Deny[i])
	}
	if len(c.Allow) > 0 && !slices.ContainsFunc(c.Allow, match) {
		return "mirror.allow does not have it"
	}
	return ""
}

// Check returns everything that is wrong with the values.
func (c *MirrorConfig) Check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("mirror.%s: %s", key, fmt.Sprintf(format, args...)))
	}
	for key, list := range map[string][]string{"allow": c.Allow, "deny": c.Deny} {
		for _, text := range list {
			if _, err := glob.Parse(text); err != nil {
				bad(key, "%q %s", text, err)
			} else if last := text[strings.LastIndexByte(text, '/')+1:]; strings.ContainsAny(last, ":@") {
				bad(key, "%q has a tag or a digest; patterns are of the name alone", text)
			}
		}
	}
	for host, r := range c.Registries {
		for _, e := range r.Endpoints {
			if !httpURL(e) {
				bad("registries", "%s: endpoint %q is no address such as https://registry.example.com", host, withoutUser(e))
			} else if u, err := url.Parse(e); err == nil && u.User != nil {
				bad("registries", "%s: endpoint %q has a user: credentials names a file for that", host, withoutUser(e))
			}
		}
		if host == "*" && len(r.Endpoints) > 0 {
			bad("registries", `"*": endpoints belong to one registry`)
		}
		if r.Proxy != "" && !httpURL(r.Proxy) {
			bad("registries", "%s: proxy %q is no address such as http://proxy.example.com:3128", host, withoutUser(r.Proxy))
		}
		if r.Connections < 0 || r.Requests < 0 {
			bad("registries", "%s: a number is negative", host)
		}
	}
	for _, m := range c.Map {
		if m.From == "" || m.To == "" {
			bad("map", "needs both from and to")
		}
	}
	for key, n := range map[string]int{"jobs": c.Jobs, "blobs": c.Blobs, "retry.times": c.Retry.Times,
		"limits.blobs": c.Limits.Blobs, "limits.depth": c.Limits.Depth} {
		if n < 1 {
			bad(key, "%d is less than 1", n)
		}
	}
	for key, d := range map[string]Duration{"retry.first": c.Retry.First, "retry.most": c.Retry.Most,
		"retry.max_wait": c.Retry.MaxWait, "timeouts.connect": c.Timeouts.Connect, "timeouts.answer": c.Timeouts.Answer,
		"timeouts.stall": c.Timeouts.Stall} {
		if d <= 0 {
			bad(key, "0 would end every try at once")
		}
	}
	for key, n := range map[string]Size{"limits.manifest": c.Limits.Manifest, "limits.image": c.Limits.Image} {
		if n <= 0 {
			bad(key, "0 would refuse every image")
		}
	}
	if strings.Contains(c.Address, "://") || strings.HasSuffix(c.Address, "/") {
		bad("address", "%q is no address such as images.example.com: without a scheme and a slash at the end", c.Address)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// httpURL reports whether a text is the URL of a host.
func httpURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") && u.RawQuery == "" &&
		u.Fragment == ""
}

// withoutUser is a URL for a message: it may hold a password.
func withoutUser(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return "..."
}

// Size is a number of bytes. It is written as a number, or with a unit: 4MiB, 64GiB.
type Size int64

func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := Size(1) << (40 - 10*i); s%n == 0 {
			return fmt.Sprintf("%d%s", s/n, unit)
		}
	}
	return fmt.Sprint(int64(s))
}

// UnmarshalYAML reads a Size. Its error names the line.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	v, err := humanize.ParseBytes(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode || v > math.MaxInt64 {
		return badValue(n, "is not a size such as 4MiB or 64GiB")
	}
	*s = Size(v)
	return nil
}
