package registry

import (
	"net/http"
	"strings"
)

// nextPage reads a Link header: the URL with rel="next"; "" for none.
func nextPage(h http.Header) string {
	for _, line := range h.Values("Link") {
		for {
			_, rest, ok := strings.Cut(line, "<")
			target, rest, ok2 := strings.Cut(rest, ">")
			if !ok || !ok2 {
				break
			}
			var params string
			params, line, _ = strings.Cut(rest, ",")
			rel := strings.NewReplacer(" ", "", `"`, "").Replace(params) + ";"
			if strings.Contains(rel, ";rel=next;") {
				return target
			}
		}
	}
	return ""
}
