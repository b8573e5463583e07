package publish

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/lazyregexp"
)

// ServeConfig is the key serve of publish.yaml.
type ServeConfig struct {
	Listen           []string `yaml:"listen"`     // see ParseListen
	Admin            string   `yaml:"admin"`      // likewise; or off
	PublicURL        string   `yaml:"public_url"` // as clients write it; "" for the host that they asked
	Pages            Pages    `yaml:"pages"`      // on public listeners
	Browse           bool     `yaml:"browse"`     // folders are listed
	DefaultNamespace string   `yaml:"default_namespace"`
	TLS              struct {
		Cert string `yaml:"cert"` // files in PEM, relative to the repository
		Key  string `yaml:"key"`
	} `yaml:"tls"`
	Compress []string `yaml:"compress"` // codings, the preferred one first
	Cache    struct {
		Content Duration `yaml:"content"` // for content whose path is no digest
	} `yaml:"cache"`
	Limits struct {
		Connections   int      `yaml:"connections"` // in all; 0: no limit
		PerClient     int      `yaml:"per_client"`  // from one address; 0: no limit
		HeaderTimeout Duration `yaml:"header_timeout"`
		IdleTimeout   Duration `yaml:"idle_timeout"`
		StallTimeout  Duration `yaml:"stall_timeout"` // for each 1 MiB of an answer
		Drain         Duration `yaml:"drain"`         // how long transfers may take to end
	} `yaml:"limits"`
	TrustedProxies []string `yaml:"trusted_proxies"` // addresses and prefixes whose X-Forwarded-For counts
	AccessLog      string   `yaml:"access_log"`      // a file, relative to the repository; - is output; "" for none
	Requests       string   `yaml:"requests"`        // a directory that gets what is asked for; "": nobody may ask
	RequestsToken  string   `yaml:"requests_token"`  // a file with what clients must show for that
}

// Pages says which pages for people a public listener has.
type Pages string

// The values of Pages.
const (
	PagesOff    Pages = "off"
	PagesImages Pages = "images" // without names of people and messages
	PagesAll    Pages = "all"
)

// Codings are the values that serve.compress may have.
var Codings = []string{"zstd", "gzip"}

// namespaces are the names that DefaultNamespace may have: a host, with a port or not, and
// folders.
var namespaces = lazyregexp.New(`^[a-zA-Z0-9]+([._:-]+[a-zA-Z0-9]+)*(/[a-zA-Z0-9]+([._-]+[a-zA-Z0-9]+)*)*$`)

// The addresses of a server whose configuration names none.
const (
	DefaultListen = "http://127.0.0.1:8080"
	DefaultAdmin  = "http://127.0.0.1:8081"
)

func (c *ServeConfig) setDefaults() {
	c.Listen = []string{DefaultListen}
	c.Admin = DefaultAdmin
	c.Pages, c.Browse, c.DefaultNamespace = PagesImages, true, "docker.io"
	c.Compress = slices.Clone(Codings)
	c.Cache.Content = Duration(2 * time.Hour)
	c.Limits.Connections = 4096
	c.Limits.HeaderTimeout = Duration(10 * time.Second)
	c.Limits.IdleTimeout = Duration(2 * time.Minute)
	c.Limits.StallTimeout = Duration(time.Minute)
	c.Limits.Drain = Duration(30 * time.Second)
}

// Check returns everything that is wrong with the values.
func (c *ServeConfig) Check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("serve.%s: %s", key, fmt.Sprintf(format, args...)))
	}
	for _, text := range c.Listen {
		if _, err := ParseListen(text); err != nil {
			bad("listen", "%s", err)
		}
	}
	if len(c.Listen) == 0 {
		bad("listen", "names no address")
	}
	if c.Admin != "off" {
		if at, err := ParseListen(c.Admin); err != nil {
			bad("admin", "%s, or off", err)
		} else if slices.Contains(c.Listen, c.Admin) && !at.anyPort() {
			bad("admin", "%q is also in serve.listen", c.Admin)
		}
	}
	if u, err := url.Parse(c.PublicURL); err == nil && u.User != nil {
		// The value stays out of the message: it may hold a password.
		bad("public_url", "has a user name in it, and pages would show it to everybody")
	} else if c.PublicURL != "" &&
		(err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "") {
		bad("public_url", "%q is no address such as https://images.example.com", c.PublicURL)
	}
	if err := oneOf("serve.pages", c.Pages, PagesOff, PagesImages, PagesAll); err != nil {
		errs = append(errs, err)
	}
	if c.DefaultNamespace != "" && !namespaces.MatchString(c.DefaultNamespace) {
		bad("default_namespace", "%q is no name such as docker.io or registry.example.com/team", c.DefaultNamespace)
	}
	for i, name := range c.Compress {
		if err := oneOf("serve.compress", name, Codings...); err != nil {
			errs = append(errs, err)
		} else if slices.Contains(c.Compress[:i], name) {
			bad("compress", "names %s twice", name)
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("tls", "needs both cert and key")
	}
	if (c.Requests == "") != (c.RequestsToken == "") {
		bad("requests", "needs requests_token too, and that needs requests")
	}
	if c.Limits.Connections < 0 || c.Limits.PerClient < 0 {
		bad("limits", "a number of connections is negative")
	}
	for key, d := range map[string]Duration{"header_timeout": c.Limits.HeaderTimeout, "idle_timeout": c.Limits.IdleTimeout,
		"stall_timeout": c.Limits.StallTimeout} {
		if d <= 0 {
			bad("limits."+key, "0 would end every connection at once")
		}
	}
	if _, err := c.Proxies(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// AccessLogIn returns AccessLog with the path of the file absolute, for the repository at
// dir: the directory in which the program was started means nothing to who reads
// publish.yaml.
func (c *ServeConfig) AccessLogIn(dir string) string {
	if c.AccessLog == "" || c.AccessLog == "-" || filepath.IsAbs(c.AccessLog) {
		return c.AccessLog
	}
	return filepath.Join(dir, c.AccessLog)
}

// RequestsIn returns Requests and RequestsToken with absolute paths, likewise.
func (c *ServeConfig) RequestsIn(dir string) (requests, token string) {
	return absolute(dir, c.Requests), absolute(dir, c.RequestsToken)
}

// Proxies returns the addresses in TrustedProxies.
func (c *ServeConfig) Proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if a, err2 := netip.ParseAddr(text); err2 == nil {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("serve.trusted_proxies: %q is no address such as 10.0.0.1 or 10.0.0.0/8", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Listen is an address at which a server waits for clients.
type Listen struct {
	Network string // tcp or unix
	Address string // host:port, or the path of a socket
	TLS     bool
}

// anyPort reports whether the system chooses the port: two such addresses are not the same.
func (l Listen) anyPort() bool {
	_, port, err := net.SplitHostPort(l.Address)
	return l.Network == "tcp" && err == nil && strings.Trim(port, "0") == ""
}

// ParseListen reads http://host:port, https://host:port or unix:/path.
func ParseListen(text string) (Listen, error) {
	if p, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(p) {
			return Listen{}, fmt.Errorf("%q: the path of a socket is absolute, as in unix:/run/publish.sock", text)
		}
		return Listen{Network: "unix", Address: filepath.Clean(p)}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return Listen{}, fmt.Errorf("%q is not http://host:port, https://host:port or unix:/path", text)
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	return Listen{Network: "tcp", Address: address, TLS: u.Scheme == "https"}, nil
}
