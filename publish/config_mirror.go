package publish

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/glob"
)

// MirrorConfig is the key mirror of publish.yaml.
type MirrorConfig struct {
	Allow      []string                  `yaml:"allow"` // names without tag and digest, as patterns; none: all
	Deny       []string                  `yaml:"deny"`  // likewise; wins
	Platforms  []string                  `yaml:"platforms"`
	Registries map[string]RegistryConfig `yaml:"registries"` // by host; "*": the others
	Map        []MirrorMap               `yaml:"map"`        // the first whose From begins a name decides
	Streams    map[string]StreamConfig   `yaml:"streams"`    // by the canonical URL of a tree
	Jobs       int                       `yaml:"jobs"`       // at once
	Blobs      int                       `yaml:"blobs"`      // at once in a job
	Retry      MirrorRetry               `yaml:"retry"`
	Timeouts   MirrorTimeouts            `yaml:"timeouts"`
	Limits     MirrorLimits              `yaml:"limits"`
	Requests   MirrorRequests            `yaml:"requests"`
	Notify     []MirrorNotify            `yaml:"notify"`  // who is told of jobs
	Address    string                    `yaml:"address"` // under which production is served, without a scheme
	Large      MirrorLarge               `yaml:"large"`
	Schedules  []MirrorSchedule          `yaml:"schedules"`
	Promote    MirrorPromote             `yaml:"promote"`
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
	c.Large.Over, c.Promote = 256<<20, PromoteNever
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
