package mirror

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/publish/stage/durable"
)

// Step notes what is done now, as Progress does.
func (c *Claimed) Step(p Phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != p {
		c.phase = p
		c.noteCount()
	}
}

// Progress notes how many bytes are done, for those who look at the job. It is cheap, and
// not durable: a power cut may lose it. Others see it a little later. Errors do not matter.
func (c *Claimed) Progress(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = bytes
	if time.Since(c.noted) > noteEvery {
		c.noteCount()
	}
}

// noteEvery is how often progress is noted for others: many small contents would take
// longer to count than to fetch.
const noteEvery = 100 * time.Millisecond

// Total notes how many bytes there are to do, as far as that is known: the most that was
// said counts.
func (c *Claimed) Total(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bytes > c.total {
		c.total = bytes
		c.noteCount()
	}
}

func (c *Claimed) noteCount() {
	if c.over {
		return
	}
	if c.count == nil {
		path := c.q.countOf(c.id)
		_ = os.Remove(path) // of a runner that died
		f, err := durable.Create(path)
		if err != nil {
			return
		}
		_ = f.Chmod(0o644)
		c.count = f
	}
	c.noted = time.Now()
	// One write of the same length replaces all of it at once.
	_, _ = c.count.WriteAt(fmt.Appendf(nil, "%020d %020d %-10s\n", c.done, c.total, c.phase), 0)
}

// readCount returns what the runner of a job noted of its progress.
func (q *Queue) readCount(id string) (done, total int64, phase Phase) {
	data, err := durable.ReadSmall(q.countOf(id), 64)
	if err != nil {
		return 0, 0, ""
	}
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0
		}
		return max(n, 0)
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, 0, ""
	}
	if len(fields) == 3 && slices.Contains(phases, Phase(fields[2])) {
		phase = Phase(fields[2])
	}
	return number(fields[0]), number(fields[1]), phase
}

// atWork are the jobs that this process works on.
type atWork struct {
	mu   sync.Mutex
	list []*Claimed // the first one first
}

// working adds a job to those that this process works on. The result takes it off.
func (m *Mirror) working(c *Claimed) (over func()) {
	w := &m.atWork
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, c)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = slices.DeleteFunc(w.list, func(o *Claimed) bool { return o == c })
	}
}

// Working returns the jobs that this process works on now, the first one first, with what
// is done of them.
func (m *Mirror) Working() []Job {
	m.atWork.mu.Lock()
	list := slices.Clone(m.atWork.list)
	m.atWork.mu.Unlock()
	jobs := make([]Job, len(list))
	for i, c := range list {
		jobs[i] = c.Job()
	}
	return jobs
}
