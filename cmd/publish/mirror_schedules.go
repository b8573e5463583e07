package main

import "example.com/publish/publish/mirror"

// saySchedules prints when schedules make jobs.
func (p *program) saySchedules(list []mirror.Scheduled) {
	for _, s := range list {
		if s.Next.After(p.clock()) {
			p.say("schedule %s: %s, next %s", s.Name, s.From, p.when(s.Next))
		} else {
			p.say("schedule %s: %s, due since %s", s.Name, s.From, p.when(s.Next))
		}
	}
}
