package publish

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"example.com/publish/stage/glob"
)

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
	c.checkStreams(bad)
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
	c.checkTimes(bad)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(append(errs, c.checkNotify())...)
}

// checkTags returns which patterns have a tag, for a format whose images have tags.
func (c *MirrorConfig) checkTags() error {
	var errs []error
	for _, p := range []struct {
		key  string
		list []string
	}{{"allow", c.Allow}, {"deny", c.Deny}} {
		for _, text := range p.list {
			if last := text[strings.LastIndexByte(text, '/')+1:]; strings.ContainsAny(last, ":@") {
				errs = append(errs, fmt.Errorf("mirror.%s: %q has a tag or a digest; patterns are of the name alone", p.key,
					text))
			}
		}
	}
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

// isDefault reports whether nothing is said of the mirror.
func (c *MirrorConfig) isDefault() bool {
	var keys []ConfigValue
	var plain MirrorConfig
	plain.setDefaults()
	differing(reflect.ValueOf(*c), reflect.ValueOf(plain), "", &keys)
	return len(keys) == 0
}
