package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path"
	"strconv"
	"unicode/utf8"
)

const maxEvent = 64 << 20

// event is a line of the history, as an object.
type event struct {
	Key  string `json:"key"`
	Prev string `json:"prev"` // "" for the first one
	Line string `json:"line"`
	Sum  string `json:"sum"` // of the rest
}

func (e *event) sum() string { return sumOf([]byte(e.Key + "\n" + e.Prev + "\n" + e.Line)) }

func eventOf(base *Pointer, seq int, nonce string, line []byte) (Upload, error) {
	if !utf8.Valid(line) {
		return Upload{}, errors.New("a line of the history is not UTF-8")
	}
	e := event{Key: fmt.Sprintf("%s%06d-%s", events, seq, nonce), Prev: base.Event, Line: string(line)}
	e.Sum = e.sum()
	data, err := json.Marshal(e)
	return Upload{Key: e.Key, Body: bodyOf(append(data, '\n')), Type: typeJSON}, err
}

// Events yields the lines of the history, newest first, from the event with this key.
func (s *Site) Events(ctx context.Context, key string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for e, err := range s.chain(ctx, key) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield([]byte(e.Line), nil) {
				return
			}
		}
	}
}

// chain yields the events, newest first. Their numbers fall, so it ends.
func (s *Site) chain(ctx context.Context, key string) iter.Seq2[*event, error] {
	return func(yield func(*event, error) bool) {
		for last := -1; key != ""; {
			seq, ok := seqOf(key)
			if !ok || last >= 0 && seq >= last {
				yield(nil, fmt.Errorf("%.200q: %w: it is no event before %d", key, ErrDamaged, last))
				return
			}
			e := event{}
			_, err := s.cached(ctx, "event-"+path.Base(key), key, maxEvent, func(data []byte) error {
				e = event{}
				if err := json.Unmarshal(data, &e); err != nil || e.Key != key || e.Sum != e.sum() {
					return fmt.Errorf("%w: it is not as it was written", ErrDamaged)
				}
				return nil
			})
			if err != nil {
				yield(nil, fmt.Errorf("the history ends here: %w", naming(key, err)))
				return
			}
			if !yield(&e, nil) {
				return
			}
			key, last = e.Prev, seq
		}
	}
}

// naming makes sure that an error says of which object it is.
func naming(key string, err error) error {
	if errors.Is(err, ErrDamaged) {
		return err // cached has named it
	}
	return fmt.Errorf("%s: %w", key, err)
}

func seqOf(key string) (int, bool) {
	parts := eventKey.FindStringSubmatch(key)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.Atoi(parts[1])
	return n, err == nil
}
