package publish

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"example.com/publish/stage/lazyregexp"
)

// TargetConfig is a target in publish.yaml.
type TargetConfig struct {
	To string    `yaml:"to"` // see ParseAddress
	S3 *S3Config `yaml:"s3"` // of a target in an object store; nil: the defaults
}

// s3 is how the store of a target is reached.
func (t *TargetConfig) s3() *S3Config {
	if t.S3 != nil {
		return t.S3
	}
	c := &S3Config{}
	c.setDefaults()
	return c
}

// Address says where a target is.
type Address struct {
	Store string // s3://BUCKET/PREFIX; then it has nothing else
	Dir   string // absolute, on that machine
	Host  string // "": this machine
	User  string // of ssh; "": as ssh chooses
	Port  int    // of ssh; 0: as ssh chooses
}

// String writes an address as publish.yaml has it.
func (a Address) String() string {
	if a.Host == "" {
		return a.Store + a.Dir
	}
	host, who := a.Host, ""
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.Port != 0 {
		host += ":" + strconv.Itoa(a.Port)
	}
	if a.User != "" {
		who = a.User + "@"
	}
	return "ssh://" + who + host + a.Dir
}

// What a host and a user may be called. ssh gets both as one argument of its own. A
// name that begins with - would be an option, and a configuration of ssh may hand them
// to a shell.
var (
	sshHost = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	sshUser = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)
)

// ParseAddress reads where a target is: an absolute path of this machine,
// ssh://[USER@]HOST[:PORT]/DIR, or s3://BUCKET/PREFIX.
func ParseAddress(text string) (Address, error) {
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
		return Address{}, errors.New("has a control character")
	case strings.HasPrefix(text, "/"):
		if path.Clean(text) == "/" {
			return Address{}, errors.New("is the root directory")
		}
		return Address{Dir: filepath.Clean(text)}, nil
	case strings.HasPrefix(text, schemeS3):
		return Address{Store: strings.TrimSuffix(text, "/")}, checkStoreURL(text)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "ssh" || u.Host == "" {
		return Address{}, errors.New("is neither an absolute path, nor ssh://[USER@]HOST[:PORT]/DIR, " +
			"nor s3://BUCKET/PREFIX")
	}
	a := Address{Host: u.Hostname(), User: u.User.Username()}
	if _, has := u.User.Password(); has {
		return Address{}, errors.New("has a password: ssh takes keys")
	}
	ip := net.ParseIP(a.Host)
	if ip == nil && !sshHost.MatchString(a.Host) {
		return Address{}, fmt.Errorf("the host %q is no name of a host", a.Host)
	}
	if u.User != nil && !sshUser.MatchString(a.User) {
		return Address{}, fmt.Errorf("the user %q is no name of a user", a.User)
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if a.Port, err = strconv.Atoi(port); err != nil || a.Port < 1 || a.Port > 65535 {
			return Address{}, fmt.Errorf("the port %q is not from 1 to 65535", port)
		}
	}
	if u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return Address{}, errors.New("has more than a directory behind the host")
	}
	if path.Clean("/"+u.Path) == "/" {
		return Address{}, errors.New("names no directory")
	}
	if strings.ContainsFunc(u.Path, unicode.IsControl) {
		return Address{}, errors.New("has a control character")
	}
	a.Dir = path.Clean(u.Path)
	return a, nil
}

// targetName matches the names of targets: they are names of files below .publish, and
// words of commands.
var targetName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

// TargetName reports whether a target may be called so.
func TargetName(name string) bool {
	return targetName.MatchString(name) && !strings.HasSuffix(name, ".lock")
}

// TargetNames are the names of the targets, sorted.
func (c *Config) TargetNames() []string {
	names := make([]string, 0, len(c.Targets))
	for name := range c.Targets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkTargets reports what is wrong with the keys targets and max_lag.
func (c *Config) checkTargets() error {
	var errs []error
	at := map[string]string{}
	if c.InStore() {
		at[placeIn(&c.S3, c.Production)] = "production"
	}
	for _, name := range c.TargetNames() {
		t := c.Targets[name]
		if !TargetName(name) {
			errs = append(errs, fmt.Errorf("targets: %q is no name of a target: letters, digits, _, . and -, "+
				"at most 64, and a letter, a digit or _ first", name))
			continue
		}
		a, err := ParseAddress(t.To)
		place := a.String()
		if a.Store != "" {
			place = placeIn(t.s3(), a.Store)
		}
		switch other := takenBy(at, place); {
		case t.To == "":
			errs = append(errs, fmt.Errorf("targets: %s: to is missing", name))
		case err != nil:
			errs = append(errs, fmt.Errorf("targets: %s: to: %q %w", name, t.To, err))
		case t.S3 != nil && a.Store == "":
			errs = append(errs, fmt.Errorf("targets: %s: s3 is for a target in an object store, s3://BUCKET/PREFIX", name))
		case other != "" && at[place] == "":
			errs = append(errs, fmt.Errorf("targets: %s: to: %s overlaps %s: one prefix must not lie in another", name, t.To,
				other))
		case other != "":
			errs = append(errs, fmt.Errorf("targets: %s: to: %s is where %s is", name, t.To, other))
		default:
			at[place] = name
		}
		if t.S3 != nil {
			if err := t.S3.check(); err != nil {
				errs = append(errs, fmt.Errorf("targets: %s: %w", name, err))
			}
		}
	}
	if c.MaxLag == 0 {
		errs = append(errs, errors.New("max_lag: 0 would make every target late during each sync"))
	}
	return errors.Join(errs...)
}
