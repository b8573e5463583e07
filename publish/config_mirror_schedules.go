package publish

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"example.com/publish/publish/timetable"
	"example.com/publish/stage/lazyregexp"
)

// MirrorLarge says when large images are fetched.
type MirrorLarge struct {
	Over   Size   `yaml:"over"`   // an image with a content of more bytes waits
	Window string `yaml:"window"` // for this part of the day; "": it does not
}

// Hours returns the window in which large images are fetched; ok is false if they are at
// all times.
func (c MirrorLarge) Hours() (w timetable.Window, ok bool) {
	if c.Window == "" {
		return w, false
	}
	w, err := timetable.ParseWindow(c.Window)
	return w, err == nil // Check has refused others
}

// MirrorSchedule asks for images again and again.
type MirrorSchedule struct {
	Name      string        `yaml:"name"`
	From      string        `yaml:"from"`      // what would be given to publish mirror add
	Tags      string        `yaml:"tags"`      // a regular expression for whole tags of From; "": that of From
	Newest    int           `yaml:"newest"`    // of these; 0: all
	Versions  int           `yaml:"versions"`  // of a simplestreams product; 0: all
	Filters   []string      `yaml:"filters"`   // likewise
	Platforms []string      `yaml:"platforms"` // empty: mirror.platforms
	Schedule  string        `yaml:"schedule"`  // a rule of cron
	Zone      string        `yaml:"zone"`      // of its wall clock; "": UTC
	Drift     ScheduleDrift `yaml:"drift"`
}

// ScheduleDrift says what is done about a name that stands for something else than the lock file
// says.
type ScheduleDrift string

// The values of ScheduleDrift.
const (
	ScheduleRefusesDrift ScheduleDrift = "refuse" // "" is the same
	ScheduleFollowsDrift ScheduleDrift = "follow"
)

// ZoneName is the name of the zone in which the schedule is.
func (s MirrorSchedule) ZoneName() string {
	if s.Zone == "" {
		return "UTC"
	}
	return s.Zone
}

// Rule returns when the schedule makes jobs.
func (s MirrorSchedule) Rule() (timetable.Rule, error) {
	return timetable.ParseRule(s.Schedule, s.ZoneName())
}

// Tagged compiles Tags; nil if there is none.
func (s MirrorSchedule) Tagged() (*regexp.Regexp, error) {
	if s.Tags == "" {
		return nil, nil
	}
	if _, err := regexp.Compile(s.Tags); err != nil { // without the anchors, which messages would show
		return nil, errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return regexp.Compile(`\A(?:` + s.Tags + `)\z`)
}

// MirrorPromote says when a mirror promotes by itself.
type MirrorPromote string

// The values of MirrorPromote.
const (
	PromoteNever   MirrorPromote = "never"
	PromoteDrained MirrorPromote = "drained" // when no job is left that could run
)

// scheduleNames are the names that a schedule may have.
var scheduleNames = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// maxSchedules bounds how many schedules there are: each is looked at every second.
const maxSchedules = 1000

// checkTimes reports what is wrong with large, schedules and promote.
func (c *MirrorConfig) checkTimes(bad func(key, format string, args ...any)) {
	if c.Large.Window != "" {
		if _, err := timetable.ParseWindow(c.Large.Window); err != nil {
			bad("large.window", "%s", err)
		}
	}
	if err := oneOf("mirror.promote", c.Promote, PromoteNever, PromoteDrained); err != nil {
		bad("promote", "%s", strings.TrimPrefix(err.Error(), "mirror.promote: "))
	}
	if len(c.Schedules) > maxSchedules {
		bad("schedules", "%d are more than %d", len(c.Schedules), maxSchedules)
		return
	}
	seen := map[string]bool{}
	for i, s := range c.Schedules {
		at := fmt.Sprintf("%q", s.Name)
		if !scheduleNames.MatchString(s.Name) {
			at = fmt.Sprintf("number %d", i+1)
			bad("schedules", "%s: the name %q is not 1 to 64 letters, digits, and . _ - after the first", at, s.Name)
		} else if seen[s.Name] {
			bad("schedules", "%s: another one has that name", at)
		}
		seen[s.Name] = true
		if s.From == "" {
			bad("schedules", "%s: from is empty", at)
		}
		if _, err := timetable.Zone(s.ZoneName()); err != nil {
			bad("schedules", "%s: zone: %s", at, err)
		} else if _, err := s.Rule(); err != nil {
			bad("schedules", "%s: schedule: %s", at, err)
		}
		if _, err := s.Tagged(); err != nil {
			bad("schedules", "%s: tags: %s", at, err)
		}
		if s.Newest < 0 || s.Versions < 0 {
			bad("schedules", "%s: a number is negative", at)
		}
		if s.Newest > 0 && s.Tags == "" {
			bad("schedules", "%s: newest is of tags: give it tags, such as .* for all", at)
		}
		if s.Drift != "" && s.Drift != ScheduleRefusesDrift && s.Drift != ScheduleFollowsDrift {
			bad("schedules", "%s: drift: %q is not one of %s, %s", at, s.Drift, ScheduleRefusesDrift, ScheduleFollowsDrift)
		}
	}
}
