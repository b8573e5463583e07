package publish

import (
	"strings"
	"testing"
)

// What the key mirror.streams may say; no message has a password.
func TestMirrorStreams(t *testing.T) {
	for text, want := range map[string]string{
		"'https://images.example.com/releases': {keyring: k.gpg, mirrors: ['http://m.example.com/x/']}": "",
		"'https://images.example.com/': {}":                             "write it as https://images.example.com",
		"'HTTPS://Images.example.com': {}":                              "write it as https://images.example.com",
		"'https://joe:hunter2@images.example.com': {}":                  "has a user",
		"images.example.com: {}":                                        "is no URL of http or https",
		"'https://i.example.com': {mirrors: [m.example.com]}":           "mirror",
		"'https://i.example.com': {mirrors: ['https://joe:hunter2@m']}": "has a user",
		"'https://i.example.com': {mirrors: ['https://i.example.com']}": "is a mirror of itself",
		"'https://i.example.com': {proxy: 'x', connections: -1}":        "is negative",
		"'https://i.example.com': {endpoints: []}":                      "endpoints",
	} {
		_, _, err := parseConfig([]byte("mirror: {streams: {"+text+"}}"), choices)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", text, err)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the message has the password: %v", text, err)
		}
	}
	c := DefaultConfig(choices).Mirror
	c.Streams = map[string]StreamConfig{"https://i.example.com": {Keyring: "k"}}
	if s := c.Stream("https://i.example.com"); s.Keyring != "k" || s.Connections != 4 {
		t.Errorf("%+v", s)
	}
}
