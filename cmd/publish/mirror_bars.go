package main

import (
	"fmt"

	"example.com/publish/publish/mirror"
)

// jobName is the image of a job, in few columns.
func jobName(j *mirror.Job) string {
	const columns = 36
	name := oneLine(j.Canonical)
	if over := terminal.StringWidth(name) - columns; over > 0 {
		name = "..." + terminal.TruncateLeft(name, over+3, "") // its end tells images apart
	}
	return name + " "
}

// jobDone is what is done of a job.
func jobDone(j *mirror.Job) string {
	text := " " + string(j.Phase)
	switch {
	case j.BytesTotal > 0:
		text += fmt.Sprintf(", %s of %s", size(j.BytesDone), size(j.BytesTotal))
	case j.BytesDone > 0:
		text += ", " + size(j.BytesDone)
	}
	return text
}

// jobLines are the bars of jobs.
func jobLines(jobs []mirror.Job) []barLine {
	out := make([]barLine, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		out[i] = barLine{j.ID, jobName(j), jobDone(j), j.BytesDone, j.BytesTotal}
	}
	return out
}

// followJobs shows the jobs that run, and the targets that are brought forward: see
// followLines.
func (p *program) followJobs(m *mirror.Mirror, targets *targetLines) (end func()) {
	if p.json || p.quiet || !p.progress.possible() {
		return func() {}
	}
	return p.followLines(func() []barLine { return append(jobLines(m.Working()), targets.bars()...) })
}
