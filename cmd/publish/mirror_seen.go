package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/publish/publish"
	"example.com/publish/publish/mirror"
)

// What is said of a job that its state does not say.
const (
	orphanedNote = "its runner is gone; publish mirror run goes on with it"
	goneNote     = "is not in staging any more"
)

// seenJob returns the job whose name begins with a prefix, as it is now.
func seenJob(ctx context.Context, m *mirror.Mirror, prefix string) (mirror.Seen, error) {
	j, err := m.Queue.Get(prefix)
	if err != nil {
		return mirror.Seen{}, err
	}
	seen, err := m.See(ctx, j)
	if err != nil {
		return mirror.Seen{}, err
	}
	return seen[0], nil
}

// after is a text with a separator before it, if there is one.
func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

// mirrorRows are what publish status says of the mirror: nothing, if there is nothing to
// do and nothing is wrong.
func (p *program) mirrorRows(m *publish.MirrorState) (rows []string) {
	switch {
	case m == nil:
		return nil
	case m.Unknown != "":
		return []string{"the queue cannot be read: " + m.Unknown}
	}
	if m.Unfinished() > 0 || m.Failures() > 0 {
		var parts []string
		for _, s := range []mirror.State{mirror.Pending, mirror.Waiting, mirror.Running} {
			if n := m.Jobs[string(s)]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, s))
			}
		}
		if n := m.Failures(); n > 0 {
			parts = append(parts, fmt.Sprintf("%d failed (%s)", n, m.Classes()))
		}
		text := strings.Join(parts, ", ")
		if m.Oldest != nil {
			text += "; the oldest was asked for " + p.when(*m.Oldest)
		}
		rows = append(rows, text)
	}
	if m.Orphaned > 0 {
		rows = append(rows, count(m.Orphaned, "job")+" running without a runner: publish mirror run goes on with it")
	}
	hosts := make([]string, 0, len(m.Hosts))
	for host := range m.Hosts {
		hosts = append(hosts, host)
	}
	slices.SortFunc(hosts, func(a, b string) int { return cmp.Or(m.Hosts[a].Compare(m.Hosts[b]), strings.Compare(a, b)) })
	for _, host := range hosts[:min(len(hosts), mostHosts)] {
		rows = append(rows, fmt.Sprintf("%s is not asked until %s", host, p.when(m.Hosts[host])))
	}
	if n := len(hosts) - mostHosts; n > 0 {
		rows = append(rows, fmt.Sprintf("nor are %d more; publish mirror status has all", n))
	}
	for _, text := range m.Damaged[:min(len(m.Damaged), 1)] {
		rows = append(rows, count(len(m.Damaged), "damaged file")+" of the queue: "+text)
	}
	return rows
}

// mostHosts is how many hosts publish status has, those first that can be asked first.
const mostHosts = 5
