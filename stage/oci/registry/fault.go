package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"example.com/publish/stage/catalog"
)

// place is a URL as a message may have it: without user and query.
func place(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return bare.String()
}

// secrets are the parts of URLs that a message must not have.
var secrets = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s"/?#]*@)?([^\s"?#]*)(?:[?#][^\s"]*)?`)

// clean is a text of others without credentials in URLs.
func clean(text string) string { return secrets.ReplaceAllString(text, "$1$2") }

// errorf is fmt.Errorf, without credentials in URLs. It keeps no error of others: that could
// be printed.
func errorf(format string, args ...any) error {
	return errors.New(clean(fmt.Sprintf(format, args...)))
}

const hintCredentials = "the image may be misspelt or private: see credentials in the configuration"

// fault is what went wrong with a request that got no answer.
func fault(ctx context.Context, method string, u *url.URL, err error) error {
	remote, usage := new(catalog.RemoteError), new(catalog.UsageError)
	switch {
	case errors.As(err, &remote):
		return remote
	case errors.As(err, &usage):
		return usage
	case ctx.Err() != nil:
		return ctx.Err()
	}
	asked, host := method+" "+place(u), hostOf(u.Host)
	way := new(url.Error) // from the last request: for a token, or after a redirect
	if errors.As(err, &way) {
		if at, bad := url.Parse(way.URL); bad == nil && at.Host != "" {
			asked, host = strings.ToUpper(way.Op)+" "+place(at), hostOf(at.Host)
		}
	}
	out := &catalog.RemoteError{Class: catalog.Unreachable, Host: host}
	said, token, refused := error(nil), new(errcode.ErrorResponse), new(refusedError)
	switch {
	case errors.As(err, &refused):
		said, out.Hint = refused, hintRefused
	case badTLS(err):
		said, out.Class = root(err, way), catalog.BadTLS
		out.Hint = "see ca and insecure in the configuration; an endpoint may be http:// too"
	case errors.As(err, &token):
		if token.URL != nil {
			asked, host = token.Method+" "+place(token.URL), hostOf(token.URL.Host)
		}
		out.Host, said = host, errors.New("the server of tokens says "+status(token.StatusCode))
		out.Again = transient(token.StatusCode)
		if !out.Again {
			out.Class, out.Hint = catalog.Unauthorized, hintCredentials
		}
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		said = errors.New("the registry wants a user and a password, and there are none for " + host)
		out.Class, out.Hint = catalog.Unauthorized, hintCredentials
	case way.Err != nil:
		said, out.Again = root(err, way), true
	default: // of a helper for credentials, or of what a server of tokens says
		said, out.Class, out.Again = err, catalog.Unauthorized, true
	}
	out.Err = errorf("%s: %v", asked, said)
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

// transient reports whether a status is one of a server that may be well later.
func transient(code int) bool {
	return code >= 500 && code != http.StatusNotImplemented || code == http.StatusRequestTimeout ||
		code == http.StatusTooEarly || code == http.StatusTooManyRequests
}

func status(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }

// answered is the error for an answer that is not what was asked for. It reads the body.
func (e *endpoint) answered(resp *http.Response) error {
	at := resp.Request.URL
	out := &catalog.RemoteError{Class: catalog.Unreachable, Host: hostOf(at.Host), Again: transient(resp.StatusCode)}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		out.Class = catalog.NotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		out.Class, out.Hint = catalog.Unauthorized, hintCredentials
		out.Again = !strings.EqualFold(at.Host, e.host) // where it redirects: a URL that was signed for minutes
	}
	said := status(resp.StatusCode)
	if code := codeOf(resp.Body); code != "" {
		said += " (" + code + ")"
	}
	out.Err = errorf("%s %s: %s", resp.Request.Method, place(at), said)
	return out
}

var codes = regexp.MustCompile(`^[A-Z_]{1,40}$`)

// codeOf is the code in the body of an error; "" for none. The message beside it is text
// that a stranger chooses.
func codeOf(body io.Reader) string {
	var said struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	const some = 8 << 10
	data, err := io.ReadAll(io.LimitReader(body, some))
	if err != nil || json.Unmarshal(data, &said) != nil || len(said.Errors) == 0 ||
		!codes.MatchString(said.Errors[0].Code) {
		return ""
	}
	return said.Errors[0].Code
}
