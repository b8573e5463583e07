package metrics

import (
	"time"

	"example.com/publish/publish"
)

// mirror writes what is known of the queue of the mirror, if there is one.
func (x *exposition) mirror(m *publish.MirrorState, now time.Time) {
	for state, n := range m.Jobs {
		x.gauge("publish_mirror_jobs", "Jobs of the mirror by state; those that ended stay for a while.", float64(n),
			label{"state", state})
	}
	x.gauge("publish_mirror_failed_jobs", "Jobs of the mirror that failed and whose image did not come since.",
		float64(m.Failures()))
	for class, n := range m.Failed {
		x.gauge("publish_mirror_failures", "Jobs of the mirror that failed and whose image did not come since, by class.",
			float64(n), label{"class", class})
	}
	x.gauge("publish_mirror_due_jobs", "Jobs of the mirror that nobody has begun, though neither a time nor a host "+
		"keeps them waiting.", float64(m.Due))
	x.since("publish_mirror_due", "the first of the jobs that are due became so", m.DueSince, now)
	x.since("publish_mirror_oldest_job", "the oldest job that has not ended was asked for", m.Oldest, now)
	x.since("publish_mirror_last_success", "a job was staged last", m.LastSuccess, now)
	x.gauge("publish_mirror_orphaned_jobs", "Jobs of the mirror whose runner is gone.", float64(m.Orphaned))
	x.gauge("publish_mirror_running_bytes", "Size of the images that are being fetched, as far as it is known.",
		float64(m.BytesTotal))
	x.gauge("publish_mirror_running_done_bytes", "What has come of the images that are being fetched.",
		float64(m.BytesDone))
	x.gauge("publish_mirror_hosts_waiting", "Servers that asked for a pause which has not ended.", float64(len(m.Hosts)))
	x.gauge("publish_mirror_damaged_files", "Files of the queue that must be repaired or moved away.",
		float64(len(m.Damaged)))
}
