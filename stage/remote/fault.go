package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
)

// Place is a URL as a message may have it: without user and query.
func Place(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return bare.String()
}

// secrets are the parts of URLs that a message must not have.
var secrets = lazyregexp.New(`([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s"/?#]*@)?([^\s"?#]*)(?:[?#][^\s"]*)?`)

// Clean is a text of others without credentials in URLs.
func Clean(text string) string { return secrets.ReplaceAllString(text, "$1$2") }

// Errorf is fmt.Errorf, without credentials in URLs. It keeps no error of others: that could
// be printed.
func Errorf(format string, args ...any) error {
	return errors.New(Clean(fmt.Sprintf(format, args...)))
}

// Special is what else is known of an error that is neither one of the network, nor of
// certificates, nor a way that is not taken: nil if it is nothing special. It may change
// what is said of the failure; asked is the request as messages have it.
type Special func(err error, out *catalog.RemoteError, asked *string) (said error)

// Fault is what went wrong with a request that got no answer. special may be nil.
func (t *Transport) Fault(ctx context.Context, method string, u *url.URL, err error, special Special) error {
	failed, usage := new(catalog.RemoteError), new(catalog.UsageError)
	switch {
	case errors.As(err, &failed):
		return failed
	case errors.As(err, &usage):
		return usage
	case ctx.Err() != nil:
		return ctx.Err()
	}
	asked, host := method+" "+Place(u), t.called(u.Host)
	way := new(url.Error) // from the last request: for a token, or after a redirect
	if errors.As(err, &way) {
		if at, bad := url.Parse(way.URL); bad == nil && at.Host != "" {
			asked, host = strings.ToUpper(way.Op)+" "+Place(at), t.called(at.Host)
		}
	}
	out := &catalog.RemoteError{Class: catalog.Unreachable, Host: host}
	said, refused := error(nil), new(refusedError)
	switch {
	case errors.As(err, &refused):
		said, out.Hint = refused, hintRefused
	case badTLS(err):
		said, out.Class = root(err, way), catalog.BadTLS
		out.Hint = "see ca and insecure in the configuration; an address may be http:// too"
	default:
		if special != nil {
			said = special(err, out, &asked)
		}
		if said == nil {
			said, out.Again = root(err, way), true
		}
	}
	out.Err = Errorf("%s: %v", asked, said)
	return out
}

// root is what a *url.Error is about, whose text has the whole URL.
func root(err error, way *url.Error) error {
	if way.Err != nil {
		return way.Err
	}
	return err
}

// badTLS reports whether an error is one of certificates or of the protocol.
func badTLS(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) ||
		errors.As(err, new(x509.HostnameError)) || errors.As(err, new(x509.CertificateInvalidError)) ||
		errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(tls.AlertError)) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// Transient reports whether a status is one of a server that may be well later.
func Transient(code int) bool {
	return code >= 500 && code != http.StatusNotImplemented || code == http.StatusRequestTimeout ||
		code == http.StatusTooEarly || code == http.StatusTooManyRequests
}

// Status is a status as messages have it: what a server writes beside the number is text that
// a stranger chooses.
func Status(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

// HintCredentials is the remedy where a server lets nobody in.
const HintCredentials = "the image may be misspelt or private: see credentials in the configuration"

// Answered is the error for an answer that is not what was asked for. host is the one of the
// URL that was asked first. more is what else the server says, "" for nothing.
func (t *Transport) Answered(resp *http.Response, host, more string) *catalog.RemoteError {
	at := resp.Request.URL
	out := &catalog.RemoteError{Class: catalog.Unreachable, Host: t.called(at.Host), Again: Transient(resp.StatusCode)}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		out.Class = catalog.NotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		out.Class, out.Hint = catalog.Unauthorized, HintCredentials
		out.Again = !strings.EqualFold(at.Host, host) // where it redirects: a URL that was signed for minutes
	}
	said := Status(resp.StatusCode)
	if more != "" {
		said += " (" + more + ")"
	}
	out.Err = Errorf("%s %s: %s", resp.Request.Method, Place(at), said)
	return out
}
