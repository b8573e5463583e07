package publish

import (
	"slices"

	"example.com/publish/stage/catalog"
)

// StreamConfig is how a simplestreams server is reached. The keys that a registry has too
// mean the same.
type StreamConfig struct {
	Keyring     string   `yaml:"keyring"` // a file of public keys; "": documents need no signature
	Mirrors     []string `yaml:"mirrors"` // URLs where the files are too; asked first, in turn
	Credentials string   `yaml:"credentials"`
	CA          string   `yaml:"ca"`
	Insecure    bool     `yaml:"insecure"`
	Proxy       string   `yaml:"proxy"`
	Connections int      `yaml:"connections"`
	Requests    int      `yaml:"requests"`
	Bandwidth   Size     `yaml:"bandwidth"`
}

// Stream returns how the server at a canonical URL is reached.
func (c *MirrorConfig) Stream(base string) StreamConfig {
	s := c.Streams[base]
	if s.Connections == 0 {
		s.Connections = 4
	}
	return s
}

// checkStreams reports what is wrong with the key streams.
func (c *MirrorConfig) checkStreams(bad func(key, format string, args ...any)) {
	for text, s := range c.Streams {
		base, err := catalog.CanonicalURL(text)
		name := withoutUser(text)
		switch {
		case err != nil:
			bad("streams", "%q %s", name, err)
		case base.String() != text:
			bad("streams", "%q: write it as %s", name, base)
		}
		for _, m := range s.Mirrors {
			if _, err := catalog.CanonicalURL(m); err != nil {
				bad("streams", "%s: mirror %q %s", name, withoutUser(m), err)
			}
		}
		if s.Proxy != "" && !httpURL(s.Proxy) {
			bad("streams", "%s: proxy %q is no address such as http://proxy.example.com:3128", name, withoutUser(s.Proxy))
		}
		if s.Connections < 0 || s.Requests < 0 {
			bad("streams", "%s: a number is negative", name)
		}
		if slices.Contains(s.Mirrors, text) {
			bad("streams", "%s: is a mirror of itself", name)
		}
	}
}
