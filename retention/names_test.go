package retention

import "testing"

func TestNameGlob(t *testing.T) {
	for _, c := range []struct {
		glob, repository, tag string
		want                  bool
	}{
		{"docker.io/acme/*:v*", "docker.io/acme/app", "v1", true},
		{"docker.io/acme/*:v*", "docker.io/acme/app", "1", false},
		{"docker.io/acme/*:v*", "docker.io/acme/app/sub", "v1", false},
		{"docker.io/**:v[0-9]", "docker.io/acme/app/sub", "v1", true},
		{"**:*", "a", "@sha256:0", true},
		{"a:v1", "a", "v1", true},
		{"a:v1", "a", "v10", false},
	} {
		g, err := ParseNameGlob(c.glob)
		if err != nil || g.Matches(c.repository, c.tag) != c.want {
			t.Errorf("%s of %s:%s: %v, %v", c.glob, c.repository, c.tag, !c.want, err)
		}
	}
	for _, bad := range []string{"", "a", "a:", ":v1", "a//b:v", "a:[", "a/**b:v"} {
		if _, err := ParseNameGlob(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
