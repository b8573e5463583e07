package upstream

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/publish/stage/remote"
)

// withCredentials sends a user and a password along with requests to some servers, as the
// text of a file like Docker's config.json has them. A redirect elsewhere gets none.
func withCredentials(send http.RoundTripper, file []byte, places []*url.URL) (http.RoundTripper, error) {
	var config struct {
		Auths map[string]struct {
			Auth     string `json:"auth"`
			Username string `json:"username"`
			Password string `json:"password"`
		} `json:"auths"`
	}
	if json.Unmarshal(file, &config) != nil {
		return nil, errors.New("is no JSON of that form")
	}
	c := &credentials{send: send, of: map[string]string{}}
	for _, p := range places {
		for _, name := range slices.Sorted(maps.Keys(config.Auths)) {
			a := config.Auths[name]
			_, host, whole := strings.Cut(name, "://")
			if !whole {
				host = name
			}
			if !strings.EqualFold(strings.TrimSuffix(host, "/"), p.Host) || !whole && c.of[origin(p)] != "" {
				continue // of another server, or a URL says it
			}
			auth := a.Auth
			if auth == "" {
				auth = base64.StdEncoding.EncodeToString([]byte(a.Username + ":" + a.Password))
			}
			if plain, err := base64.StdEncoding.DecodeString(auth); err != nil || !strings.Contains(string(plain), ":") {
				return nil, errors.New("has no user and password for " + p.Host)
			}
			c.of[origin(p)] = "Basic " + auth
		}
	}
	return c, nil
}

// credentials sends requests with those of their servers.
type credentials struct {
	send http.RoundTripper
	of   map[string]string // what stands in the header, by origin
}

func origin(u *url.URL) string { return u.Scheme + " " + remote.DialedAt(u) }

// RoundTrip implements [http.RoundTripper].
func (c *credentials) RoundTrip(r *http.Request) (*http.Response, error) {
	if auth := c.of[origin(r.URL)]; auth != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", auth)
	}
	return c.send.RoundTrip(r)
}
