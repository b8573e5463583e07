package store

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slow gives a byte in each pause, until the context of r ends it.
type slow struct {
	r     *http.Request
	n     int
	pause time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	select {
	case <-s.r.Context().Done():
		return 0, s.r.Context().Err()
	case <-time.After(s.pause):
	}
	s.n--
	p[0] = 'x'
	return 1, nil
}

// TestStall finds that the timeout counts from the last progress, in both directions.
func TestStall(t *testing.T) {
	const stall, n = time.Minute, 100
	for name, test := range map[string]struct {
		up, answer, down time.Duration // pauses: of the body, before the answer, of the answer
		stalls           bool
	}{
		"slow":         {50 * time.Second, 50 * time.Second, 50 * time.Second, false},
		"no answer":    {time.Second, time.Hour, 0, true},
		"half answer":  {time.Second, time.Second, 61 * time.Second, true},
		"never at all": {time.Hour, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				send := &sender{stall: stall, base: roundTrip(func(r *http.Request) (*http.Response, error) {
					for range n {
						select {
						case <-r.Context().Done():
							return nil, r.Context().Err()
						case <-time.After(test.up):
						}
						if _, err := r.Body.Read(make([]byte, 1)); err != nil {
							return nil, err
						}
					}
					select {
					case <-r.Context().Done():
						return nil, r.Context().Err()
					case <-time.After(test.answer):
					}
					return &http.Response{Body: io.NopCloser(&slow{r, n, test.down})}, nil
				})}
				r, err := http.NewRequestWithContext(t.Context(), "PUT", "http://localhost", io.LimitReader(nothing{}, n))
				must(t, err)
				resp, err := send.Do(r)
				if err == nil {
					time.Sleep(time.Hour) // who reads may take their time
					_, err = io.ReadAll(resp.Body)
					must(t, resp.Body.Close())
				}
				if stalled := (stalledError{}); errors.As(err, &stalled) != test.stalls || err != nil && !test.stalls {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
