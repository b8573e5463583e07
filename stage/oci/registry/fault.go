package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lazyregexp"
	"example.com/publish/stage/remote"
)

// fault is what went wrong with a request that got no answer.
func (v *server) fault(ctx context.Context, method string, u *url.URL, err error) error {
	return v.way.Fault(ctx, method, u, err, aboutTokens)
}

// aboutTokens knows the errors of the library that asks for tokens.
func aboutTokens(err error, out *catalog.RemoteError, asked *string) error {
	token := new(errcode.ErrorResponse)
	switch {
	case errors.As(err, &token):
		if token.URL != nil {
			*asked, out.Host = token.Method+" "+remote.Place(token.URL), hostOf(token.URL.Host)
		}
		out.Again = remote.Transient(token.StatusCode)
		if !out.Again {
			out.Class, out.Hint = catalog.Unauthorized, remote.HintCredentials
		}
		return errors.New("the server of tokens says " + remote.Status(token.StatusCode))
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		out.Class, out.Hint = catalog.Unauthorized, remote.HintCredentials
		return errors.New("the registry wants a user and a password, and there are none for " + out.Host)
	case errors.As(err, new(*url.Error)):
		return nil
	}
	// Of a helper for credentials, or of what a server of tokens says.
	out.Class, out.Again = catalog.Unauthorized, true
	return err
}

// answered is the error for an answer that is not what was asked for. It reads the body.
func (v *server) answered(e *endpoint, resp *http.Response) error {
	return v.way.Answered(resp, e.host, codeOf(resp.Body))
}

var codes = lazyregexp.New(`^[A-Z_]{1,40}$`)

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
