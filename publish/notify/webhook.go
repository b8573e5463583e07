package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"example.com/publish/stage/durable"
)

// The limits of a webhook.
const (
	connect   = 10 * time.Second
	maxAnswer = 64 << 10 // bytes that are read, so that the connection can be used again
	maxSecret = 4 << 10
)

// Webhook returns a receiver that gets a POST for each notice. The header
// X-Hub-Signature-256 has "sha256=" and the HMAC of the body in hex, as GitHub's, if secret
// is a file: its first line is the key, without the newline. It is read for each notice, so
// that it can be changed. Each answer of 200 to 299 means that the notice arrived.
//
// A redirect is followed with the same method, to the same host, and not from https to
// http: to another host the notice would go to somebody else.
func Webhook(name, address, secret string, events []string) *Receiver {
	client := clientWith(http.ProxyFromEnvironment)
	return receiver(name, events, func(ctx context.Context, m Message) error {
		return post(ctx, client, address, secret, m)
	}, "webhook", address)
}

func clientWith(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	return &http.Client{CheckRedirect: stay, Transport: &http.Transport{Proxy: proxy, TLSHandshakeTimeout: connect,
		DialContext:           (&net.Dialer{Timeout: connect}).DialContext,
		ResponseHeaderTimeout: Timeout, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}}
}

// stay is what a redirect may do.
func stay(next *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > 5 || next.Method != http.MethodPost || next.URL.Host != first.URL.Host ||
		first.URL.Scheme == "https" && next.URL.Scheme != "https" {
		return http.ErrUseLastResponse
	}
	return nil
}

func post(ctx context.Context, client *http.Client, address, secret string, m Message) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(m.Body))
	if err != nil {
		return errors.New("is no address") // the error has it
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "publish")
	r.Header.Set("X-Publish-Event", m.Event)
	r.Header.Set("X-Publish-Delivery", m.ID)
	if secret != "" {
		signature, err := sign(secret, m.Body)
		if err != nil {
			return err
		}
		r.Header.Set("X-Hub-Signature-256", signature)
	}
	answer, err := client.Do(r)
	if err != nil {
		if at := new(url.Error); errors.As(err, &at) {
			err = at.Err // without the address
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("did not answer within %s", Timeout)
		}
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // the status says all
	_ = answer.Body.Close()
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 400 && code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests:
		return refused{status(code)}
	case code >= 300 && code < 400:
		return fmt.Errorf("%w: it leads elsewhere, and that is not followed", status(code))
	default:
		return status(code)
	}
}

func status(code int) error {
	if text := http.StatusText(code); text != "" {
		return fmt.Errorf("answers %d %s", code, text)
	}
	return fmt.Errorf("answers %d", code)
}

// sign returns the signature of a body with the key in a file.
func sign(path string, body []byte) (string, error) {
	f, err := durable.OpenNamed(path)
	if err != nil {
		return "", err
	}
	data, err := durable.ReadBounded(f, maxSecret)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	key, _, _ := bytes.Cut(data, []byte("\n"))
	if key = bytes.TrimSuffix(key, []byte("\r")); len(key) == 0 {
		return "", fmt.Errorf("%s: has no secret in its first line", path)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil)), nil
}
