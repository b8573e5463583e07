package serve

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A client gets the coding that it likes best, of several the first one here.
func TestCodings(t *testing.T) {
	d := &document{}
	d.packs.list.Store(&[]packed{{coding: []string{"zstd"}}, {coding: []string{"gzip"}}})
	for accept, want := range map[string]string{
		"":                              "",
		"br":                            "",
		"gzip":                          "gzip",
		"X-GZIP":                        "gzip",
		"gzip, zstd":                    "zstd",
		"gzip;q=0.5, zstd;q=0.5":        "zstd",
		"gzip;q=1.0, zstd;q=0.1":        "gzip",
		"gzip;q=0.1, *":                 "zstd",
		"*;q=0.5, zstd;q=0":             "gzip",
		"*;q=0":                         "",
		"gzip ; Q=0.8":                  "gzip",
		"gzip;q=x, zstd;q=-1":           "",
		"gzip;q=nan":                    "",
		"identity, gzip;q=0.5":          "",
		"identity;q=0.5, gzip;q=0.5":    "gzip",
		"identity;q=0, *":               "zstd",
		"identity;q=0.1, zstd;q=0, br":  "",
		"identity;q=0.5, *;q=0.1, gzip": "gzip",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", accept)
		got := ""
		if p := d.choose(r); p != nil {
			got = p.coding[0]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
}
