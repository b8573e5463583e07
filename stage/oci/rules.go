package oci

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
)

// What the JSON schemas of the OCI image specification ask of a document, as values.
// The specification's own validator is the judge in the tests. Two things that it refuses
// are taken here, as all clients do: an empty list of layers, which docker build writes
// of an image without any, and, with a warning, null or an empty text for a member that may be missing.
//
// Beyond the schemas, a member that is known may not be there twice, nor in capitals:
// clients differ in which one they read, and so in what a digest stands for.
//
// The validator itself is not part of the program. It compiles all schemas anew for each
// document, and its library compiles others at each start: both take milliseconds.

// rule is what is asked of a value.
type rule struct {
	kind    string
	members []property // of an object
	each    *rule      // element of a list, or member of an object
	text    func(string) error
	number  func(string) error // gets the bytes
	orNull  bool               // the schema takes null also
}

// property is a member of an object that is known. Others are not looked at.
type property struct {
	name    string
	rule    *rule
	needed  bool
	checked bool // by descriptor.check, if it is missing
}

// The kinds of values, with their articles.
const (
	aText    = "a text"
	aNumber  = "a number"
	anArray  = "a list"
	anObject = "an object"
	aYesNo   = "a yes or no"
)

var (
	someText      = &rule{kind: aText}
	textList      = &rule{kind: anArray, each: someText}
	annotationMap = &rule{kind: anObject, each: someText}
	mediaTypes    = &rule{kind: aText, text: checkMediaType}
	integer       = &rule{kind: aNumber, number: checkInteger}
	version2      = &rule{kind: aNumber, number: checkVersion}

	descriptorMembers = []property{
		{name: "mediaType", rule: mediaTypes, checked: true},
		{name: "size", rule: integer, checked: true},
		{name: "digest", rule: someText, checked: true},
		{name: "urls", rule: &rule{kind: anArray, each: &rule{kind: aText, text: checkURL}}},
		{name: "data", rule: &rule{kind: aText, text: checkBase64}},
		{name: "artifactType", rule: mediaTypes},
		{name: "annotations", rule: annotationMap},
	}
	descriptorRule = &rule{kind: anObject,
		members: slices.Concat(descriptorMembers, []property{platformMember(false)})}
	// listedRule is that of what an index lists.
	listedRule = &rule{kind: anObject,
		members: slices.Concat(descriptorMembers, []property{platformMember(true)})}

	commonMembers = []property{
		{name: "schemaVersion", rule: version2, needed: true},
		{name: "mediaType", rule: mediaTypes},
		{name: "artifactType", rule: mediaTypes},
		{name: "subject", rule: descriptorRule},
		{name: "annotations", rule: annotationMap},
	}
	manifestRule = &rule{kind: anObject, members: slices.Concat(commonMembers, []property{
		{name: "config", rule: descriptorRule, needed: true},
		{name: "layers", rule: &rule{kind: anArray, each: descriptorRule}, needed: true}})}
	indexRule = &rule{kind: anObject, members: slices.Concat(commonMembers, []property{
		{name: "manifests", rule: &rule{kind: anArray, each: listedRule}, needed: true}})}
)

// platformMember is the platform in a descriptor. One that an index lists has to be whole.
func platformMember(whole bool) property {
	return property{name: "platform", rule: &rule{kind: anObject, members: []property{
		{name: "architecture", rule: someText, needed: whole},
		{name: "os", rule: someText, needed: whole},
		{name: "os.version", rule: someText},
		{name: "os.features", rule: textList},
		{name: "variant", rule: someText},
	}}}
}

// misfit is where a value is not what a rule asks, and why.
type misfit struct {
	place, fact string
	mild        bool // clients take it
}

// Error is such as: layers[2].size: is a text; it must be a number.
func (m *misfit) Error() string {
	if m.place == "" {
		return m.fact
	}
	return strings.TrimPrefix(m.place, ".") + ": " + m.fact
}

// or returns the graver of two, and of equal ones the first.
func (m *misfit) or(other *misfit) *misfit {
	if m == nil || other != nil && m.mild && !other.mild {
		return other
	}
	return m
}

// in returns a misfit as one of the value around it.
func (m *misfit) in(place string) *misfit {
	if m == nil {
		return nil
	}
	return &misfit{place + m.place, m.fact, m.mild}
}

func (m *misfit) grave() bool { return m != nil && !m.mild }

func misfits(format string, args ...any) *misfit { return &misfit{fact: fmt.Sprintf(format, args...)} }

// misfit returns the first place where a valid JSON text is not what is asked, the first
// grave one if there is one; nil for none.
func (r *rule) misfit(valid []byte) *misfit {
	v := bytes.TrimSpace(valid)
	if is := kindOf(v); is != r.kind {
		return misfits("is %s; it must be %s", is, r.kind)
	}
	var err error
	switch {
	case r.text != nil:
		err = r.text(text(v))
	case r.number != nil:
		err = r.number(string(v))
	case r.kind == anArray:
		return r.inArray(v)
	case r.kind == anObject:
		return r.inObject(v)
	}
	if err != nil {
		return misfits("%s %s", catalog.Show(strings.Trim(string(v), `"`)), err)
	}
	return nil
}

func (r *rule) inArray(v []byte) (bad *misfit) {
	n := 0
	eachElement(v, func(value []byte) bool {
		if found := r.each.misfit(value); found != nil {
			bad = bad.or(found.in("[" + strconv.Itoa(n) + "]"))
		}
		n++
		return !bad.grave()
	})
	return bad
}

func (r *rule) inObject(v []byte) (bad *misfit) {
	there := 0 // a bit for each member
	eachMember(v, func(quoted, value []byte) {
		if bad.grave() {
			return
		}
		var found *misfit
		i, name, other := r.find(quoted)
		switch {
		case r.each != nil:
			if found = r.each.misfit(value); found != nil {
				found = found.in("[" + catalog.Show(name) + "]")
			}
		case other:
			found = misfits("has a member %s: clients read it as %s", catalog.Show(name), r.members[i].name)
		case i < 0:
		case there&(1<<i) != 0:
			found = misfits("has two members %s", name)
		default:
			there |= 1 << i
			found = r.members[i].misfit(value).in("." + name)
		}
		bad = bad.or(found)
	})
	for i, m := range r.members {
		if m.needed && there&(1<<i) == 0 {
			return bad.or(misfits("has no %s", m.name))
		}
	}
	return bad
}

// misfit is that of the rule, but for values that clients take for none.
func (p *property) misfit(value []byte) *misfit {
	null, empty := kindOf(value) == "null", string(value) == `""` && p.rule.text != nil
	switch {
	case p.needed || !null && !empty:
	case p.checked, null && p.rule.orNull:
		return nil
	case null:
		return &misfit{"", "is null; clients take that for nothing", true}
	case p.rule.text("") != nil:
		return &misfit{"", "is empty; clients take that for nothing", true}
	}
	return p.rule.misfit(value)
}

// find returns the place of a member; -1 for none. other is true for one that
// encoding/json takes for it, and other readers do not.
func (r *rule) find(quoted []byte) (at int, name string, other bool) {
	for i := range r.members {
		if m := &r.members[i]; string(quoted[1:len(quoted)-1]) == m.name {
			return i, m.name, false
		}
	}
	name = text(quoted)
	for i := range r.members {
		if m := &r.members[i]; strings.EqualFold(name, m.name) {
			return i, name, name != m.name
		}
	}
	return -1, name, false
}

// kindOf is the kind of a value.
func kindOf(v []byte) string {
	if len(v) == 0 {
		return "nothing"
	}
	switch v[0] {
	case '{':
		return anObject
	case '[':
		return anArray
	case '"':
		return aText
	case 'n':
		return "null"
	case 't', 'f':
		return aYesNo
	}
	return aNumber
}

var (
	errNoType   = errors.New("is not a media type")
	errNoURL    = errors.New("is not a URL")
	errNoBase64 = errors.New("is not base64")
	errNoSize   = errors.New("is not a whole number of 64 bits")
	errVersion  = errors.New("is not known: only 2 is")
	errNoValue  = errors.New("is not NAME=VALUE")
	errNoTime   = errors.New("is not a time of RFC 3339")
	errNoLayers = errors.New("is not known: only layers is")
)

// checkMediaType returns an error for a text that is not two names of at most 127
// letters, digits and some signs (RFC 6838).
func checkMediaType(s string) error {
	one, two, ok := strings.Cut(s, "/")
	if !ok || !restricted(one) || !restricted(two) {
		return errNoType
	}
	return nil
}

func restricted(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || strings.IndexByte("!#$&^_.+-", c) < 0) {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 127
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() {
		return errNoURL
	}
	if host := u.Hostname(); strings.Contains(host, ":") {
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || a.Zone() != "" || !strings.Contains(u.Host, "[") {
			return errNoURL
		}
	}
	return nil
}

func checkBase64(s string) error {
	if _, err := base64.StdEncoding.DecodeString(s); err != nil {
		return errNoBase64
	}
	return nil
}

func checkInteger(s string) error {
	if _, err := strconv.ParseInt(s, 10, 64); err != nil {
		return errNoSize
	}
	return nil
}

func checkVersion(s string) error {
	if s != "2" {
		return errVersion
	}
	return nil
}

func checkTime(s string) error {
	// What is parsed also has hours of one digit, and a comma for the point.
	if _, err := time.Parse(time.RFC3339, s); err != nil || s[len("2006-01-02T15")] != ':' || strings.Contains(s, ",") {
		return errNoTime
	}
	return nil
}

func checkLayers(s string) error {
	if s != "layers" {
		return errNoLayers
	}
	return nil
}

func checkSetting(s string) error {
	if strings.IndexByte(s, '=') <= 0 {
		return errNoValue
	}
	return nil
}
