package serve

import (
	"bytes"
	"html/template"
	"net/http"
	"strconv"
)

// page answers with a page for people. It is made whole before the first byte is sent.
func (s *Server) page(w http.ResponseWriter, r *http.Request, v *view, t *template.Template, data any) error {
	var buf bytes.Buffer
	if err := t.Execute(&buf, data); err != nil {
		return err
	}
	about(w, kindPage)
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = []string{"text/html; charset=utf-8"}, s.cache[mutableFile]
	h["X-Content-Type-Options"], h["Content-Security-Policy"] = noSniff, []string{"default-src 'none'"}
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	if v != nil {
		h["Publish-Generation"] = v.number
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(buf.Bytes())
	}
	return nil
}
