package serve

import (
	"net/http"
	"strings"
)

// maxRanges is from how many parts on the whole file is sent instead.
const maxRanges = 16

// noPart is a part that no file has.
const noPart = "9223372036854775807-"

// asking returns a request whose Range net/http reads as RFC 9110 says (14.1.2, 14.2):
//   - Range is ignored if its unit is not bytes, and if it asks for more parts than anybody
//     needs.
//   - The last 0 bytes, which net/http would send, are a part that no file has.
func asking(r *http.Request) *http.Request {
	header := r.Header["Range"]
	if len(header) == 0 {
		return r
	}
	list, inBytes := strings.CutPrefix(header[0], "bytes=")
	parts := strings.Split(list, ",")
	r = r.Clone(r.Context())
	if !inBytes || len(header) > 1 || len(parts) > maxRanges {
		delete(r.Header, "Range")
		return r
	}
	for i, p := range parts {
		zeros, last := strings.CutPrefix(strings.Trim(p, " \t"), "-")
		if last && zeros != "" && strings.Trim(zeros, "0") == "" {
			parts[i] = noPart
		}
	}
	r.Header["Range"] = []string{"bytes=" + strings.Join(parts, ",")}
	return r
}
