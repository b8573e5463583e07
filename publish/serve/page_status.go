package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// errMoved means that production was switched while a page was made.
var errMoved = errors.New("production was switched")

const (
	// newest is how many images the first page has.
	newest = 10
	// maxFolder is how many names of the root folder the first page has.
	maxFolder = 50
)

// overview is what changes beside a view: staging, the history, the windows.
type overview struct {
	*publish.Overview               // as if the view were production
	repo              *publish.Repo // reads it so
	trouble           error         // why it cannot be read what production is; else nil
	moved             bool          // production is another generation
}

// overview returns it for the view of a page. While it cannot be read what production is,
// the rest is shown as of the view: clients get that.
func (s *Server) overview(a *asked) (overview, error) {
	m := a.view.Manifest
	o, err := s.looked.get(a, m.Generation, func(ctx context.Context) (o overview, err error) {
		o.repo = s.repo
		o.Overview, err = o.repo.Overview(ctx)
		if exhausted(err) || ctx.Err() != nil {
			return o, err // that says nothing of production
		}
		o.trouble, o.moved = err, err == nil && (o.Production == nil || o.Production.Generation != m.Generation)
		if o.trouble != nil || o.moved {
			o.repo = s.repo.ReadAs(m)
			if o.Overview, err = o.repo.Overview(ctx); err != nil {
				return o, err
			}
		}
		if exhausted(o.NoStaging) {
			return o, o.NoStaging
		}
		s.unread.now(s.log, "pages cannot show all of the repository", cmp.Or(o.trouble, o.NoHistory, o.NoStaging))
		return o, nil
	})
	if err != nil {
		return o, err
	}
	if _, stale := s.keeper.stale(); o.moved && stale == nil {
		s.looked.forget(m.Generation) // production may be that again
		return o, errMoved
	}
	return o, nil
}

// status is the part of an overview that a page may show.
func (a *asked) status(o overview) *publish.Status {
	if a.all {
		return o.Status
	}
	out, live := *o.Status, *o.Production
	live.Who, live.Message, live.Path = "", "", ""
	out.Production, out.Repository, out.HistoryFlaw = &live, "", ""
	out.Generations = slices.Clone(out.Generations)
	for i := range out.Generations {
		out.Generations[i].Message = ""
	}
	if out.Hold != nil {
		out.Hold = &publish.HoldState{Since: out.Hold.Since}
	}
	out.Mirror, out.Foreign, out.Missing = nil, nil, nil
	out.Locks, out.LocksUnknown, out.Leftovers = []publish.LockHeld{}, []string{}, []publish.Leftover{}
	return &out
}

// statusView is the first page.
type statusView struct {
	*publish.Status
	Live     *publish.Production
	Stale    string // why newer content is not shown; "" if there is none
	Images   int
	Versions int
	Setup    []catalog.Command
	Newest   []imageRow
	Kept     []keptRow // the newest first
	Folder   []listed  // of the root
	More     bool      // names there
	Why      string    // the message of what a revert brings back

	NoStaging, NoHistory string // see publish.Overview
}

// statusTwin is a status whose parts that cannot be read are not there.
type statusTwin struct {
	*publish.Status
	Staging   *publish.StagingState `json:"staging"` // null: it cannot be read
	Stale     string                `json:"stale,omitempty"`
	NoStaging string                `json:"no_staging,omitempty"` // why it cannot
}

// keptRow is a generation that can be reverted to.
type keptRow struct {
	publish.Kept
	Link string // to its tree; "" for none
}

func (s *Server) statusPage(a *asked) (*made, error) {
	o, err := s.overview(a)
	if err != nil {
		return nil, err
	}
	shelf, err := s.shelf(a)
	if err != nil {
		return nil, err
	}
	st := a.status(o)
	p := statusView{Status: st, Live: st.Production, Images: shelf.images, Versions: shelf.versions,
		Setup: s.repo.Format().Setup(a.at), NoStaging: a.why(o.NoStaging), NoHistory: a.why(o.NoHistory)}
	for _, product := range shelf.newest() {
		p.Newest = append(p.Newest, s.imageRow(a, product, 0, true))
	}
	for _, k := range slices.Backward(st.Generations) {
		p.Kept = append(p.Kept, keptRow{k, s.keptLink(a, k.Generation)})
		if k.Generation == st.RevertTo {
			p.Why = k.Message
		}
	}
	if a.files && s.config.Browse && s.filesOf() {
		p.Folder, p.More = a.view.list("")
		if p.More = p.More || len(p.Folder) > maxFolder; p.More {
			p.Folder = p.Folder[:min(len(p.Folder), maxFolder)]
		}
	}
	_, stale := s.keeper.stale()
	if o.NoHistory == nil { // else that is what is wrong, as far as is known
		stale = cmp.Or(o.trouble, stale)
	}
	p.Stale = a.why(stale)
	return &made{fmt.Sprintf("Generation %d is live", a.view.Generation), p, func() (body, error) {
		twin := statusTwin{st, &st.Staging, p.Stale, p.NoStaging}
		if o.NoHistory != nil {
			return body{}, o.NoHistory // it would say that nothing is kept
		}
		if o.NoStaging != nil {
			twin.Staging = nil
		}
		return objectBody(twin)
	}}, nil
}

// why is an error as a page may show it: it names paths of the machine. It is "" for nil.
func (a *asked) why(err error) string {
	switch {
	case err == nil:
		return ""
	case !a.all:
		return "the log says why"
	}
	return explained(err)
}

// explained is an error on one line, with what to do.
func explained(err error) string {
	line := oneLine(err)
	if fact := new(publish.Error); errors.As(err, &fact) && fact.Hint != "" {
		line += "; hint: " + fact.Hint
	}
	return line
}

// keptLink is a link to the tree of a generation; "" if there is none on this listener.
func (s *Server) keptLink(a *asked, n int) string {
	if !a.files || !s.filesOf() {
		return ""
	}
	return href(a.root, fmt.Sprintf("@%d", n)) + "/"
}

// filesOf reports whether trees are served as files, and not only by a registry.
func (s *Server) filesOf() bool { return s.pull == nil }

// findingsView is the page of findings.
type findingsView struct {
	publish.CheckedSums
	part
	List             []catalog.Finding // with All
	Codes            []codeRow         // without
	Errors, Warnings int

	NoStaging, NoHistory string // see publish.Overview
}

// noFindings is what the twin is if staging cannot be read.
type noFindings struct {
	Findings  *struct{} `json:"findings"` // null: not known; so are the others
	Checked   *struct{} `json:"checked"`
	Redacted  *struct{} `json:"redacted"`
	LeftOut   *struct{} `json:"left_out"`
	NoStaging string    `json:"no_staging"` // why
}

// codeRow counts the findings of one kind.
type codeRow struct {
	Severity catalog.Severity
	Code     string
	Count    int
}

func (s *Server) findingsPage(a *asked) (*made, error) {
	o, err := s.overview(a)
	if err != nil {
		return nil, err
	}
	const title = "Findings in staging"
	if o.Staged == nil {
		p := findingsView{NoStaging: a.why(o.NoStaging), NoHistory: a.why(o.NoHistory)}
		return &made{title, p, func() (body, error) { return objectBody(noFindings{NoStaging: p.NoStaging}) }}, nil
	}
	checked, p := *o.Staged, findingsView{CheckedSums: o.Staged.Checked.Checked}
	for _, f := range checked.Findings {
		if f.Severity == catalog.Error {
			p.Errors++
		} else {
			p.Warnings++
		}
	}
	if a.all {
		filter := lower(a.filter())
		list := slices.DeleteFunc(slices.Clone(checked.Findings),
			func(f catalog.Finding) bool { return !matching(filter, string(f.Severity), f.Code, f.Path, f.Message) })
		from, to, part := a.cut(len(list))
		p.part, p.List = part, list[from:to]
	} else {
		// Paths and messages name what is staged, and may never be published.
		checked.Findings, p.Codes = withoutNames(checked.Findings)
		checked.Redacted, checked.LeftOut.Examples = []string{}, []string{}
	}
	return &made{title, p, func() (body, error) { return objectBody(checked) }}, nil
}

// withoutNames returns findings without what they are about, and counts them.
func withoutNames(list []catalog.Finding) (out []catalog.Finding, codes []codeRow) {
	out = []catalog.Finding{}
	for _, f := range list {
		out = append(out, catalog.Finding{Severity: f.Severity, Code: f.Code})
		i := slices.IndexFunc(codes, func(c codeRow) bool { return c.Code == f.Code && c.Severity == f.Severity })
		if i < 0 {
			i, codes = len(codes), append(codes, codeRow{f.Severity, f.Code, 0})
		}
		codes[i].Count++
	}
	return out, codes
}

// carriedView is the page of carried files.
type carriedView struct {
	*publish.CarriedFiles
	part
	Rows []carriedRow
}

type carriedRow struct {
	publish.CarriedFile
	Link string // "" for none
}

func (s *Server) carriedPage(a *asked) (*made, error) {
	m := a.view.Manifest
	files, err := s.carried.get(a, m.Generation, func(ctx context.Context) (*publish.CarriedFiles, error) {
		files, err := s.repo.Carried(ctx)
		if err == nil && files.Generation == m.Generation || exhausted(err) {
			return files, err
		}
		return s.repo.ReadAs(m).Carried(ctx)
	})
	if err != nil {
		return nil, err
	}
	filter := lower(a.filter())
	list := files.List
	if filter != "" {
		list = slices.DeleteFunc(slices.Clone(list),
			func(f publish.CarriedFile) bool { return !matching(filter, f.Path) })
	}
	from, to, part := a.cut(len(list))
	p := carriedView{CarriedFiles: files, part: part}
	for _, f := range list[from:to] {
		row := carriedRow{CarriedFile: f}
		if a.files && s.filesOf() {
			row.Link = href(a.root, f.Path)
		}
		p.Rows = append(p.Rows, row)
	}
	return &made{"Carried files", p, func() (body, error) { return objectBody(files) }}, nil
}
