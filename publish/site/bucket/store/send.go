package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"example.com/publish/publish/fault"
)

// transport returns one that speaks HTTP/1.1: a body a connection, and no request that
// a library repeats. What it trusts is what the SDK found: AWS_CA_BUNDLE counts.
func transport(found aws.HTTPClient, timeout time.Duration) *http.Transport {
	t := &http.Transport{}
	if sdk, ok := found.(*awshttp.BuildableClient); ok {
		t = sdk.GetTransport()
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	t.TLSClientConfig.MinVersion = tls.VersionTLS12
	t.TLSClientConfig.NextProtos = nil
	t.ForceAttemptHTTP2, t.TLSNextProto = false, map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.Proxy = http.ProxyFromEnvironment
	t.DialContext = (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext
	t.TLSHandshakeTimeout, t.IdleConnTimeout, t.ExpectContinueTimeout = timeout, 30*time.Second, time.Second
	t.MaxIdleConns, t.MaxIdleConnsPerHost, t.MaxConnsPerHost = 256, 256, 0
	t.ResponseHeaderTimeout = 0 // see watch
	t.DisableCompression = true
	return t
}

// sender sends requests, each once, and follows no redirect. It ends one that makes no
// progress for stall: a large body on a slow line takes as long as it takes.
type sender struct {
	base  http.RoundTripper
	stall time.Duration
}

// stalledError says that nothing moved for so long.
type stalledError struct{ time.Duration }

func (e stalledError) Error() string { return "no byte came or went for " + e.Duration.String() }
func (e stalledError) Timeout() bool { return true }

// patience is the key of how much longer an answer may take, in a context.
type patience struct{}

// Do implements the SDK's HTTPClient.
func (s *sender) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	more, _ := r.Context().Value(patience{}).(time.Duration)
	w := &watch{stall: s.stall, more: more, cancel: cancel}
	w.timer = time.AfterFunc(s.stall+more, func() { cancel(stalledError{s.stall + more}) })
	own := r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		own.Body = &sending{ReadCloser: r.Body, watch: w}
	}
	resp, err := s.base.RoundTrip(own)
	w.answer()
	if err != nil {
		err = w.why(ctx, err)
		cancel(nil)
		return nil, err
	}
	resp.Request = r
	resp.Body = &answer{ReadCloser: resp.Body, watch: w, ctx: ctx}
	return resp, nil
}

// watch ends a request that makes no progress.
type watch struct {
	stall, more time.Duration
	cancel      context.CancelCauseFunc

	mu       sync.Mutex
	timer    *time.Timer
	answered bool
	sent     int64
}

// progress is called when n bytes of the body go out.
func (w *watch) progress(n int) {
	// What was written last waits in the kernel, up to 4 MiB, for a line that may be slow:
	// so much may take as long again.
	const kernel = 4 * mib
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent += int64(n)
	if !w.answered {
		w.timer.Reset(w.stall + w.more + time.Duration(float64(w.stall)*float64(min(w.sent, kernel))/kernel))
	}
}

// answer is called when the head of the answer is there, or none comes.
func (w *watch) answer() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = true
	w.timer.Stop()
}

// why returns the cause of an error.
func (w *watch) why(ctx context.Context, err error) error {
	var stalled stalledError
	if errors.As(context.Cause(ctx), &stalled) {
		return stalled
	}
	return err
}

type sending struct {
	io.ReadCloser
	watch *watch
}

func (b *sending) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.watch.progress(n)
	return n, err
}

// answer is the body of one. Who reads it may take as long as they like between two reads.
type answer struct {
	io.ReadCloser
	watch *watch
	ctx   context.Context
}

func (b *answer) Read(p []byte) (int, error) {
	b.watch.timer.Reset(b.watch.stall)
	n, err := b.ReadCloser.Read(p)
	b.watch.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.watch.why(b.ctx, err)
	}
	return n, err
}

func (b *answer) Close() error {
	err := b.ReadCloser.Close()
	b.watch.timer.Stop()
	b.watch.cancel(nil)
	return err
}

// reserved are headers that the protocol sets, or prefixes of such.
var reserved = []string{"host", "authorization", "content-length", "content-type", "content-md5", "content-encoding",
	"cache-control", "transfer-encoding", "connection", "expect", "range", "if-*", "date", "x-amz-date",
	"x-amz-content-*", "x-amz-security-token", "x-amz-meta-*", "x-amz-checksum-*", "x-amz-sdk-*", "x-amz-copy-*"}

func checkHeaders(headers map[string]string) error {
	for name, value := range headers {
		bad := func(fact string) error {
			return &fault.Error{Kind: fault.Usage, Path: "s3.headers", Fact: fact}
		}
		if strings.ContainsFunc(name, func(r rune) bool {
			return !('a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
		}) || name == "" {
			return bad(fmt.Sprintf("%q is not the name of a header", name))
		}
		// The value may be a secret: it is not shown.
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return bad(fmt.Sprintf("%s: has a character that no header has", name))
		}
		if slices.ContainsFunc(reserved, func(p string) bool {
			begin, open := strings.CutSuffix(p, "*")
			return strings.ToLower(name) == p || open && strings.HasPrefix(strings.ToLower(name), begin)
		}) {
			return bad(fmt.Sprintf("%s: is set by publish itself", name))
		}
	}
	return nil
}

// making are the operations that make an object.
var making = []string{"PutObject", "CreateMultipartUpload"}

// everywhere reports whether a header goes with each request. Those of a store that say what
// an object is to be, such as its class, are refused with others.
func everywhere(name string) bool {
	name = strings.ToLower(name)
	return !strings.HasPrefix(name, "x-amz-") || name == "x-amz-request-payer" || name == "x-amz-expected-bucket-owner"
}

// withHeaders adds headers before a request is signed.
func withHeaders(headers map[string]string) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Build.Add(middleware.BuildMiddlewareFunc("ConfiguredHeaders", func(ctx context.Context,
			in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if r, ok := in.Request.(*smithyhttp.Request); ok {
				makes := slices.Contains(making, middleware.GetOperationName(ctx))
				for name, value := range headers {
					if makes || everywhere(name) {
						r.Header.Set(name, value)
					}
				}
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	}
}

// digest is the key of a body's SHA-256, in hex, in a context.
type digest struct{}

// withoutUnsigned signs the digest of a body that is known, so that the SDK neither reads
// the body to find it, nor sends it unsigned.
func withoutUnsigned(stack *middleware.Stack) error {
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("KnownDigest", func(ctx context.Context,
		in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata,
		error) {
		if sum, ok := ctx.Value(digest{}).(string); ok {
			ctx = v4.SetPayloadHash(ctx, sum)
		}
		return next.HandleFinalize(ctx, in)
	}), middleware.Before)
}
