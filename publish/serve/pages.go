package serve

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
)

// section is a page of its own, with a twin in JSON. Its name is that of its file.
type section struct {
	Name  string // "" for the first
	Title string // in the list of pages
	make  func(s *Server, a *asked) (*made, error)
}

// twin is the name of its twin.
func (p section) twin() string { return cmp.Or(p.Name, "status") + ".json" }

// queueName is the page that is there only with a mirror, and for who may see all.
const queueName = "queue"

// sections are the pages below /-/.
var sections = []section{
	{"", "Now", (*Server).statusPage},
	{"images", "Images", (*Server).imagesPage},
	{"history", "History", (*Server).historyPage},
	{"diff", "Changes", (*Server).diffPage},
	{"carried", "Carried", (*Server).carriedPage},
	{"findings", "Findings", (*Server).findingsPage},
	{queueName, "Queue", (*Server).queuePage},
}

// asked is a request for a page.
type asked struct {
	context.Context
	view  *view
	at    catalog.Address
	root  string // see frame
	query url.Values
	all   bool // see frame
	files bool // likewise
	now   time.Time
}

// made is a page.
type made struct {
	title string
	page  any
	twin  func() (body, error)
}

// Who may see what: the admin listener shows all. A public one shows neither names of
// people nor messages nor what is staged, unless serve.pages is all.

// hasPages reports whether there are pages on a listener.
func (s *Server) hasPages(admin bool) bool { return admin || s.config.Pages != publish.PagesOff }

// shows reports whether a listener shows all.
func (s *Server) shows(admin bool) bool { return admin || s.config.Pages == publish.PagesAll }

// pages answers for a page, or its twin. name is "" for the first, or ends with .json.
func (s *Server) pages(w http.ResponseWriter, r *http.Request, name string, admin bool) {
	name, twin := strings.CutSuffix(name, ".json")
	if twin && name == "status" {
		name = ""
	} else if twin && name == "" {
		s.notFound(w)
		return
	}
	for _, page := range sections {
		if page.Name == name && s.hasPages(admin) && (name != queueName || s.hasQueue(s.shows(admin))) {
			s.section(w, r, page, twin, admin)
			return
		}
	}
	s.notFound(w)
}

// section answers for a page. What a page says and the view that it is about can be of two
// generations only if there is a switch in between: then it is made anew.
func (s *Server) section(w http.ResponseWriter, r *http.Request, page section, twin, admin bool) {
	err := errMoved
	for range 3 {
		if !errors.Is(err, errMoved) {
			break
		}
		v, fail := s.keeper.fresh(r.Context())
		if fail != nil {
			s.unavailable(w)
			return
		}
		err = s.sectionOf(w, r, v, page, twin, admin)
		v.release()
		if errors.Is(err, generation.ErrMoved) {
			err = errMoved
		}
	}
	fact, name := new(publish.Error), page.Name
	if twin {
		name = page.twin()
	}
	switch {
	case err == nil:
		s.unmade[name].now(s.log, "a page cannot be made: /-/"+name, nil)
	case errors.Is(err, errHost):
		text(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, errBusy), errors.Is(err, errMoved):
		line := "this page is being computed; try again"
		if _, why := s.keeper.stale(); why != nil {
			if line = "production is not ready; try again"; s.shows(admin) {
				line = "no view of production: " + oneLine(why)
			}
		}
		w.Header()["Retry-After"] = []string{"5"}
		text(w, http.StatusServiceUnavailable, line)
	case exhausted(err):
		s.overloaded(w)
	case errors.As(err, &fact) && fact.Kind == publish.NotFound:
		text(w, http.StatusNotFound, oneLine(err))
	case errors.As(err, &fact) && fact.Kind == publish.Usage:
		text(w, http.StatusBadRequest, oneLine(err))
	default:
		s.unmade[name].now(s.log, "a page cannot be made: /-/"+name, err)
		line := "this page cannot be made; the log says why"
		if s.shows(admin) {
			line = "this page cannot be made: " + explained(err)
		}
		w.Header()["Retry-After"] = []string{"5"} // what it is about may be mended; the server is well
		text(w, http.StatusServiceUnavailable, line)
	}
}

// sectionOf answers with a page about a view. If it returns an error, nothing was written.
func (s *Server) sectionOf(
	w http.ResponseWriter, r *http.Request, v *view, page section, twin, admin bool,
) error {
	at, err := s.address(r, admin)
	if err != nil {
		return err
	}
	query, _ := url.ParseQuery(r.URL.RawQuery) // what is not well formed is not there
	a := &asked{Context: r.Context(), view: v, at: at, root: rootOf(r), query: query,
		all: s.shows(admin), files: !admin, now: s.keeper.now()}
	m, err := page.make(s, a)
	if err != nil {
		return err
	}
	if twin {
		b, err := m.twin()
		if err == nil {
			w.Header()["Content-Type"] = jsonType
			s.made(w, r, v, b)
		}
		return err
	}
	name := page.Name
	if name == "" {
		name = "status"
	}
	f := s.frame(a, m.title)
	f.Here, f.Page, f.JSON = page.Name, m.page, f.Root+"-/"+name+".json"
	if r.URL.RawQuery != "" && name == "diff" {
		f.JSON += "?" + query.Encode()
	}
	return s.page(w, r, v, name, f)
}

// frame has what is the same on all pages.
func (s *Server) frame(a *asked, title string) frame {
	nav := sections
	if !s.hasQueue(a.all) {
		nav = slices.DeleteFunc(slices.Clone(nav), func(p section) bool { return p.Name == queueName })
	}
	return frame{Title: title, Host: a.at.Host(), Root: a.root, All: a.all, Files: a.files, Nav: nav, Now: a.now,
		About: strings.TrimSpace("publish " + s.Version), Generation: a.view.Generation}
}

// rootOf is a relative link from the path of a request to the root of the server: a proxy
// may serve it below a prefix.
func rootOf(r *http.Request) string { return strings.Repeat("../", strings.Count(r.URL.Path, "/")-1) }

const (
	// maxQuery is how long a filter may be.
	maxQuery = 200
	// onePage is how many lines of a list one page has.
	onePage = 100
)

// filter is the text that a list has to match; "" for all.
func (a *asked) filter() string {
	q := strings.TrimSpace(a.query.Get("q"))
	if len(q) > maxQuery {
		q = strings.ToValidUTF8(q[:maxQuery], "")
	}
	return q
}

// matching reports whether one of the texts has the filter in it, whatever the case. The
// filter is in lower case.
func matching(filter string, texts ...string) bool {
	if filter == "" {
		return true
	}
	for _, t := range texts {
		if strings.Contains(strings.ToLower(t), filter) {
			return true
		}
	}
	return false
}

// part is the part of a list that one page shows, and links to its neighbours.
type part struct {
	Filter         string
	Beside         []field // what the query has beside the filter
	From, To, Of   int     // lines, from 1 on
	Before, Behind string  // queries; "" for none
}

// field is a value of a query.
type field struct{ Name, Value string }

// All is the query without the filter.
func (p part) All() string {
	q := url.Values{}
	for _, f := range p.Beside {
		q.Set(f.Name, f.Value)
	}
	return "?" + q.Encode()
}

// cut returns which lines of n a page shows.
func (a *asked) cut(n int) (from, to int, p part) {
	page, _ := strconv.Atoi(a.query.Get("page"))
	last := max(1, (n+onePage-1)/onePage)
	page = min(max(page, 1), last)
	from, to = (page-1)*onePage, min(page*onePage, n)
	p = part{Filter: a.filter(), From: from + 1, To: to, Of: n}
	link := func(page int) string {
		q := url.Values{}
		for _, name := range []string{"q", "product"} {
			if v := a.query.Get(name); v != "" {
				q.Set(name, v[:min(len(v), maxPath)])
			}
		}
		q.Set("page", strconv.Itoa(page))
		return "?" + q.Encode()
	}
	if page > 1 {
		p.Before = link(page - 1)
	}
	if page < last {
		p.Behind = link(page + 1)
	}
	return from, to, p
}
