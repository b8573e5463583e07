package remote

import (
	"fmt"
	"io"
	"net/http"
)

// Bounded is the body of an answer, of which no more than n bytes are read.
func Bounded(body io.ReadCloser, n int64) io.ReadCloser {
	return bounded{io.LimitReader(body, n), body}
}

type bounded struct {
	io.Reader
	io.Closer
}

// AskFrom sets the header that asks for the bytes of a content from an offset on; 0: all.
func AskFrom(h http.Header, from int64) {
	if from > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
}

// Placed says which byte of a content of a size an answer begins with, after those from an
// offset on were asked for; or in fact what is wrong with the answer.
func Placed(resp *http.Response, from, size int64) (first int64, fact string) {
	switch resp.StatusCode {
	case http.StatusOK:
		if n := resp.ContentLength; n >= 0 && n != size {
			return 0, fmt.Sprintf("the server has %d bytes, and should have %d", n, size)
		}
		return 0, ""
	case http.StatusPartialContent:
		first, last, total, ok := ContentRange(resp.Header.Get("Content-Range"))
		n := resp.ContentLength
		switch {
		case !ok, first != from, last >= size, total >= 0 && total != size, n >= 0 && n != last-first+1:
			return 0, "the server sends another part than the one that was asked for"
		}
		return first, ""
	}
	return 0, "the server says " + Status(resp.StatusCode)
}
