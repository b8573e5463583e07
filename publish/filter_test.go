package publish

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/stage/durable"
)

func TestHistoryFilter(t *testing.T) {
	w := newWorld(t, "symlink")
	at := func(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }
	w.put(map[string]string{"debian:12/1": "one"})
	w.promote()
	w.now = at(10)
	w.put(map[string]string{"debian:12/1": "one", "alpine:3/1": "two"})
	w.promote()
	w.now = at(20)
	w.revert(0)
	// A line of a later version.
	text, err := json.Marshal(journal.Record{Time: at(30), Kind: "repaint", Removed: []string{"void:1/2"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.AppendLine(w.repo().historyPath(), durable.Line(text)); err != nil {
		t.Fatal(err)
	}
	w.now = at(40)
	for _, c := range []struct {
		name string
		f    HistoryFilter
		want string
	}{
		{"all", HistoryFilter{}, "repaint revert promote promote"},
		{"limit", HistoryFilter{Limit: 2}, "repaint revert"},
		{"kind", HistoryFilter{Kinds: []journal.Kind{journal.KindRevert}}, "revert"},
		{"kinds and limit", HistoryFilter{Kinds: []journal.Kind{journal.KindRevert, journal.KindPromote}, Limit: 2},
			"revert promote"},
		{"a kind of a later version", HistoryFilter{Kinds: []journal.Kind{"repaint"}}, "repaint"},
		{"a known kind that never happened", HistoryFilter{Kinds: []journal.Kind{"prune"}}, ""},
		{"product", HistoryFilter{Product: "alpine:3"}, "revert promote"},
		{"product and version", HistoryFilter{Product: "debian:12/1"}, "promote"},
		{"glob", HistoryFilter{Product: "*:?"}, "repaint revert promote"},
		{"no such product", HistoryFilter{Product: "alpine"}, ""},
		{"since is inclusive", HistoryFilter{Since: at(20)}, "repaint revert"},
		{"until is inclusive", HistoryFilter{Until: at(10)}, "promote promote"},
		{"both", HistoryFilter{Since: at(1), Until: at(19)}, "promote"},
	} {
		events, err := w.repo().History(c.f)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var got []string
		for _, e := range events {
			got = append(got, string(e.Kind))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	_, err = w.repo().History(HistoryFilter{Kinds: []journal.Kind{"promot"}})
	wantKind(t, err, Usage)
	_, err = w.repo().History(HistoryFilter{Product: "[a"})
	wantKind(t, err, Usage)
}

func TestHistoryFilterHealth(t *testing.T) {
	w := newWorld(t, "symlink")
	w.cfg = func(c *Config) { c.HealthCheck.Command = []string{"true"} }
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	events, err := w.repo().History(HistoryFilter{})
	if err != nil || len(events) != 1 || events[0].Switch().Health != "ok" {
		t.Fatalf("%+v, %v", events, err)
	}
	events, err = w.repo().History(HistoryFilter{Kinds: []journal.Kind{journal.KindHealth}})
	if err != nil || len(events) != 1 || events[0].Kind != journal.KindHealth {
		t.Fatalf("%+v, %v", events, err)
	}
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ text, from, to string }{
		{"2026-01-09T13:00:00+01:00", "2026-01-09T12:00:00Z", "2026-01-09T12:00:00Z"},
		{"2026-01-09", "2026-01-09T00:00:00Z", "2026-01-09T23:59:59.999999999Z"},
		{"7d", "2026-01-03T12:00:00Z", "2026-01-03T12:00:00Z"},
		{"90m", "2026-01-10T10:30:00Z", "2026-01-10T10:30:00Z"},
		{"0", "2026-01-10T12:00:00Z", "2026-01-10T12:00:00Z"},
	} {
		from, to, err := ParseMoment(c.text, now)
		if err != nil || from.Format(time.RFC3339Nano) != c.from || to.Format(time.RFC3339Nano) != c.to {
			t.Errorf("%s: %s, %s, %v", c.text, from, to, err)
		}
	}
	for _, bad := range []string{"", "yesterday", "2026-13-01", "-7d", "2026-01-09T13:00:00"} {
		if _, _, err := ParseMoment(bad, now); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
