package publish

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCheckMirror(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	hour := time.Hour
	const (
		late   = "due false 1 job of the mirror due, the first for 3h, more than 1h: "
		noneAt = "no runner is at work; publish mirror run is one"
		sound  = "; queue true the queue is sound"
		well   = "mirror true no job of the mirror failed"
	)
	runs := map[string]int{"running": 1}
	for name, c := range map[string]struct {
		state *MirrorState
		limit *time.Duration
		want  string // the checks: a name, whether it is well, and the message
	}{
		"no mirror":          {nil, nil, ""},
		"no mirror, a limit": {nil, &hour, "due true no job of the mirror is due"},
		"nothing to do":      {&MirrorState{}, nil, well + sound},
		"it cannot be read": {&MirrorState{Unknown: "x: denied"}, &hour,
			"mirror false the queue of the mirror cannot be read: x: denied"},
		"failed ones": {&MirrorState{Failed: map[string]int{"digest": 1, "tls": 2}}, nil,
			"mirror false 3 jobs of the mirror failed (2 tls, 1 digest): publish mirror list --state failed lists them" +
				sound},
		"damaged files": {&MirrorState{Damaged: []string{"a: is no job"}}, nil,
			well + "; queue false 1 file of the queue must be repaired or moved away: a: is no job"},
		"due for a moment": {&MirrorState{Due: 2, DueSince: ago(time.Minute)}, &hour,
			"due true 2 jobs of the mirror due, the first for 1m"},
		"due for long": {&MirrorState{Due: 1, DueSince: ago(3 * hour)}, &hour, late + noneAt},
		"a busy runner": {&MirrorState{Jobs: runs, Due: 1, DueSince: ago(3 * hour)}, &hour,
			late + "1 other job at work"},
		"a runner that died": {&MirrorState{Jobs: runs, Orphaned: 1, Due: 1, DueSince: ago(3 * hour)}, &hour,
			late + noneAt},
		"the clock stood back": {&MirrorState{Due: 1, DueSince: ago(-hour)}, &hour,
			"due true 1 job of the mirror due, the first for 0s"},
	} {
		m := &Measures{Status: &Status{Mirror: c.state}, Time: now}
		var got []string
		for _, check := range m.checkMirror(c.limit) {
			got = append(got, fmt.Sprint(check.Name, " ", check.OK, " ", check.Message))
		}
		text := strings.Join(got, "; ")
		if strings.HasPrefix(c.want, "due") {
			_, text, _ = strings.Cut("; "+text, "; due")
			text = "due" + text
		}
		if text != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, text, c.want)
		}
	}
}
