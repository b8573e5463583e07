package publish

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strconv"
	"strings"

	"example.com/publish/retention"
)

// A plan for 100,000 tags has tens of megabytes as JSON. encoding/json would have all of it
// in memory, more than once. So it is written in parts: the bytes are the same.

// planForm is how a plan is written.
type planForm struct {
	indent string // of each level; "": no white space
	escape bool   // escape what HTML would misread, as json.Marshal does
}

// encode writes the plan as encoding/json does.
func (p *Plan) encode(w io.Writer, form planForm) error {
	out := &planWriter{Writer: bufio.NewWriterSize(w, 64<<10), planForm: form}
	v := reflect.ValueOf(p).Elem()
	out.put("{")
	first := true
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if option == "omitempty" && v.Field(i).Len() == 0 {
			continue
		}
		if !first {
			out.put(",")
		}
		first = false
		out.line(1)
		out.value(name, 1)
		out.put(":" + form.indent)
		out.field(v.Field(i))
	}
	out.line(0)
	out.put("}")
	if out.err == nil {
		out.err = out.Flush()
	}
	return out.err
}

type planWriter struct {
	*bufio.Writer
	planForm
	text, indented bytes.Buffer
	scratch        []byte
	err            error
}

// field writes the value of a field of the plan; a list by its elements.
func (w *planWriter) field(v reflect.Value) {
	if v.Kind() != reflect.Slice || v.Len() == 0 {
		w.value(v.Interface(), 1)
		return
	}
	w.put("[")
	decisions, _ := v.Interface().([]retention.Decision)
	for i := range v.Len() {
		if i > 0 {
			w.put(",")
		}
		w.line(2)
		if decisions == nil || !w.decision(&decisions[i], 2) {
			w.value(v.Index(i).Interface(), 2)
		}
	}
	w.line(1)
	w.put("]")
}

// decision is value for what a plan has most of, in a tenth of the time. It is false, and
// writes nothing, for one with a text that is not written as it is.
func (w *planWriter) decision(d *retention.Decision, level int) bool {
	good := w.plain(d.Product) && w.plain(d.Version) && w.plain(d.Ref) && w.plain(d.Digest) && len(d.Reasons) > 0
	for _, r := range d.Reasons {
		good = good && w.plain(r)
	}
	if !good {
		return false
	}
	begin, end, inner, innerEnd, colon := "", "", "", "", `":`
	if w.indent != "" {
		begin, end = "\n"+strings.Repeat(w.indent, level+1), "\n"+strings.Repeat(w.indent, level)
		inner, innerEnd, colon = begin+w.indent, begin, `": `
	}
	b := append(w.scratch[:0], '{')
	member := func(name, value string) {
		b = append(append(append(append(b, begin...), '"'), name...), colon...)
		b = append(append(append(b, '"'), value...), '"', ',')
	}
	member("product", d.Product)
	member("version", d.Version)
	if d.Ref != "" {
		member("ref", d.Ref)
	}
	if d.Digest != "" {
		member("digest", d.Digest)
	}
	b = append(append(append(append(b, begin...), `"reasons`...), colon...), '[')
	for i, r := range d.Reasons {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(append(b, inner...), '"'), r...), '"')
	}
	b = append(append(b, innerEnd...), ']', ',')
	b = append(append(append(b, begin...), `"bytes`...), colon...)
	b = append(append(strconv.AppendInt(b, d.Bytes, 10), end...), '}')
	if w.scratch = b; w.err == nil {
		_, w.err = w.Write(b)
	}
	return true
}

// plain reports whether a text stands in JSON as it is.
func (w *planWriter) plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20, c >= 0x7f, c == '"', c == '\\', w.escape && (c == '<' || c == '>' || c == '&'):
			return false
		}
	}
	return true
}

func (w *planWriter) put(s string) {
	if w.err == nil {
		_, w.err = w.WriteString(s)
	}
}

// line begins a line at a level.
func (w *planWriter) line(level int) {
	if w.indent != "" {
		w.put("\n" + strings.Repeat(w.indent, level))
	}
}

// value writes any value at a level.
func (w *planWriter) value(v any, level int) {
	w.text.Reset()
	enc := json.NewEncoder(&w.text)
	enc.SetEscapeHTML(w.escape)
	if err := enc.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	text := bytes.TrimSuffix(w.text.Bytes(), []byte("\n"))
	if w.err == nil && w.indent != "" {
		w.indented.Reset()
		w.err = json.Indent(&w.indented, text, strings.Repeat(w.indent, level), w.indent)
		text = w.indented.Bytes()
	}
	if w.err == nil {
		_, w.err = w.Write(text)
	}
}
