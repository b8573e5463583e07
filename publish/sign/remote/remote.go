// Package remote checks a server's production as a client would that has nothing but public
// keys: over HTTP, by what was signed.
//
// What it promises:
//
//   - What the server says is a finding: a file that is missing, not signed, changed, of an older
//     generation or past its date. An error means that the server could not be asked, so
//     that a script can tell one from the other.
//   - Nothing that is not signed leads anywhere: paths are those of signed documents.
//   - A promote meanwhile is no finding. What does not fit together is read again, a few times.
//   - No document is read past [catalog.MaxDocument], and no file past its size.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/sign"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/remote"
	"example.com/publish/stage/tree"
)

// Options say what to check.
type Options struct {
	URL  string // of the tree
	Keys *sign.Keyring
	// After is the newest generation that is known: an older one is a finding. 0: none is known.
	After    int
	Full     bool              // every file of the list is read, too
	Forms    catalog.Server    // of documents that clients are served in a longer form than is signed; nil: none
	Client   *http.Client      // nil: one with timeouts for each step, and certificates of the system
	Now      func() time.Time  // nil: time.Now
	Progress func(bytes int64) // may be nil; called by several goroutines
	Pause    time.Duration     // before something is read again; 0: a second
}

// Result is what was seen. Generation to Until are zero without a signed list.
type Result struct {
	Generation int
	TreeID     string
	Made       time.Time
	Until      *time.Time        // nil: it does not expire
	Documents  []string          // that have a good signature, inside or beside them, sorted
	Files      int64             // of the list, that were read
	Bytes      int64             // of all that was read
	Findings   []catalog.Finding // sorted; none: all is as the keys say
}

// Codes of findings.
const (
	Missing = sign.CodeMissing // a file that has to be there
	Bad     = sign.CodeBad     // it is not what one of the keys signed
	Old     = "old-generation" // a newer one is known
	Expired = "past-its-date"  // nothing new came for too long
	Differs = sign.CodeDiffers // from what was signed
	Large   = "too-large"      // nobody would read it
	Unsafe  = "unsafe-path"    // a signed document leads out of the tree
)

// tries is how often what does not fit together is read.
const tries = 4

// Verify asks a server. The error is a *catalog.UsageError for options that cannot be, and a
// *catalog.RemoteError if the server does not answer.
func Verify(ctx context.Context, o Options) (*Result, error) {
	v, err := newVerifier(o)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		if err := v.once(ctx); err != nil {
			return nil, err
		}
		if len(v.out.Findings) == 0 || try == tries || v.settled {
			catalog.Sort(v.out.Findings)
			v.out.Findings = slices.CompactFunc(v.out.Findings, func(a, b catalog.Finding) bool {
				return a.Path == b.Path && a.Code == b.Code // as a document, and as a file
			})
			return v.out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(v.Pause):
		}
	}
}

type verifier struct {
	Options
	at      catalog.Address
	client  *http.Client
	way     *remote.Transport
	out     *Result
	list    tree.Rows
	raw     []byte // the list as it was signed
	settled bool   // to read again changes nothing
}

func newVerifier(o Options) (*verifier, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, catalog.Usage("such as https://images.example.com", "%s: is no URL of a server", remote.Clean(o.URL))
	case u.RawQuery != "" || u.Fragment != "":
		return nil, catalog.Usage("give the URL of the tree alone", "%s: has a query or a fragment", remote.Place(u))
	}
	if pgp, small := o.Keys.Has(); !pgp && !small {
		return nil, catalog.Usage("name a file of public keys", "%s: there is no key to check it with", remote.Place(u))
	}
	v := &verifier{Options: o, at: catalog.Address{URL: strings.TrimRight(u.String(), "/")}}
	if v.way, err = remote.New(u.Host, remote.Options{}, remote.Settings{}, u); err != nil {
		return nil, err
	}
	v.client = &http.Client{Transport: v.way}
	if o.Client != nil {
		*v.client = *o.Client
	}
	v.client.CheckRedirect = redirect
	if v.Now == nil {
		v.Now = time.Now
	}
	if v.Pause == 0 {
		v.Pause = time.Second
	}
	return v, nil
}

// redirect follows a few redirects, and none to a protocol that anybody can listen to.
func redirect(next *http.Request, before []*http.Request) error {
	switch {
	case len(before) >= 10:
		return errors.New("it redirects more than 10 times")
	case next.URL.Scheme != "https" && (next.URL.Scheme != "http" || before[0].URL.Scheme == "https"):
		return errors.New("it redirects to " + next.URL.Scheme + "://")
	}
	return nil
}

// once checks everything once.
func (v *verifier) once(ctx context.Context) error {
	v.out, v.list, v.settled = &Result{Documents: []string{}, Findings: []catalog.Finding{}}, tree.Rows{}, false
	pgp, small := v.Keys.Has()
	if small {
		if ok, err := v.listing(ctx); !ok || err != nil {
			return err
		}
	}
	if pgp {
		if err := v.documents(ctx); err != nil {
			return err
		}
	}
	if v.Full && small {
		before := len(v.out.Findings)
		if err := v.files(ctx); err != nil || len(v.out.Findings) == before {
			return err
		}
		// To read all files again is worth it only if a promote took them away.
		now, _, err := v.get(ctx, sign.ListingName, catalog.MaxDocument)
		v.settled = v.settled || bytes.Equal(now, v.raw)
		if !errors.Is(err, durable.ErrTooLong) {
			return err
		}
	}
	return nil
}

// find notes a finding.
func (v *verifier) find(code, path, format string, args ...any) {
	v.out.Findings = append(v.out.Findings, catalog.Finding{Severity: catalog.Error, Code: code, Path: path,
		Message: fmt.Sprintf(format, args...)})
}

// listing reads the list of the generation, and checks who signed it and when.
func (v *verifier) listing(ctx context.Context) (ok bool, err error) {
	data, ok, err := v.document(ctx, sign.ListingName)
	if !ok || err != nil {
		return false, err
	}
	trusted, ok, err := v.signed(ctx, data)
	if !ok || err != nil {
		return false, err
	}
	l, bad := sign.ParseListing(data)
	if bad != nil {
		v.find(Bad, sign.ListingName, "%v", bad)
		return false, nil
	}
	if n, made, bad := sign.ParseTrusted(trusted); bad != nil || n != l.Generation || !made.Equal(l.Made) {
		v.find(Bad, sign.ListingName, "its signature is of %q, and it is of generation %d", trusted, l.Generation)
		return false, nil
	}
	v.list, v.raw = tree.NewRows(l.Rows), data
	v.out.Generation, v.out.TreeID, v.out.Made = l.Generation, l.TreeID, l.Made
	if l.Generation < v.After {
		v.settled = true
		v.find(Old, sign.ListingName, "is of generation %d; generation %d was there before", l.Generation, v.After)
	}
	if !l.Until.IsZero() {
		v.out.Until = &l.Until
		if v.Now().After(l.Until) {
			v.settled = true
			v.find(Expired, sign.ListingName, "was good until %s", l.Until.UTC().Format(time.RFC3339))
		}
	}
	return true, nil
}

// signed finds a signature of the list by one of the keys. While a key is replaced, there are
// several.
func (v *verifier) signed(ctx context.Context, data []byte) (trusted string, ok bool, err error) {
	unknown := false
	for i, suffix := range v.Keys.Suffixes() {
		path := sign.ListingName + suffix
		sig, found, err := v.get(ctx, path, 1<<20)
		switch {
		case errors.Is(err, durable.ErrTooLong):
			v.find(Large, path, "is larger than a signature can be")
			return "", false, nil
		case err != nil:
			return "", false, err
		case !found && i == 0:
			v.find(Missing, path, "the server does not have it")
			return "", false, nil
		case !found:
			continue
		}
		trusted, _, bad := v.Keys.Detached(data, sig)
		switch {
		case bad == nil:
			return trusted, true, nil
		case errors.Is(bad, sign.ErrUnknownKey):
			unknown = true
		default:
			v.find(Bad, path, "%v", bad)
			return "", false, nil
		}
	}
	if v.settled = unknown; unknown {
		v.find(Bad, sign.ListingName, "%v", sign.ErrUnknownKey)
	}
	return "", false, nil
}

// document reads a document that has to be there.
func (v *verifier) document(ctx context.Context, path string) (data []byte, ok bool, err error) {
	data, found, err := v.get(ctx, path, catalog.MaxDocument)
	switch {
	case errors.Is(err, durable.ErrTooLong):
		v.find(Large, path, "has more than %d bytes", catalog.MaxDocument)
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case !found:
		v.find(Missing, path, "the server does not have it")
	}
	return data, found, nil
}

// get reads a file; found is false if the server says that it does not have it. absent is as for
// open.
func (v *verifier) get(ctx context.Context, path string, limit int64, absent ...int) (
	data []byte, found bool, err error) {
	body, err := v.open(ctx, path, absent...)
	if body == nil || err != nil {
		return nil, false, err
	}
	defer body.Close()
	data, err = durable.ReadBounded(&counted{body, v}, limit)
	if err != nil && !errors.Is(err, durable.ErrTooLong) {
		return nil, false, v.fault(ctx, path, err)
	}
	return data, true, err
}

// open asks for a file; nil if the server says that it does not have it. The statuses in absent also
// say so.
func (v *verifier) open(ctx context.Context, path string, absent ...int) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.at.Of(path), nil)
	if err != nil {
		return nil, v.fault(ctx, path, err)
	}
	r.Header.Set("Accept-Encoding", "identity") // signatures are of the bytes as they are
	resp, err := v.client.Do(r)
	if err != nil {
		return nil, v.fault(ctx, path, err)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	case slices.Contains(absent, resp.StatusCode), resp.StatusCode == http.StatusNotFound,
		resp.StatusCode == http.StatusGone:
		return nil, resp.Body.Close()
	}
	_ = resp.Body.Close() // nothing was read of it
	out := v.way.Answered(resp, r.URL.Host, "")
	out.Hint = ""
	return nil, out
}

// fault is why a request had no answer.
func (v *verifier) fault(ctx context.Context, path string, err error) error {
	u, bad := url.Parse(v.at.Of(path))
	if bad != nil {
		return bad
	}
	return v.way.Fault(ctx, http.MethodGet, u, err, nil)
}
