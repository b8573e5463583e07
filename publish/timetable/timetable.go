// Package timetable says when something happens by the wall clock of a named time zone:
// in a [Window] of the day, or by a [Rule] of cron. It reads texts and answers questions
// about times; it asks no clock.
//
// Wall clocks are set forward and back, mostly twice a year. What holds then:
//
//   - A window is open while the wall clock is in it. So one that lies in the hour that is
//     skipped in spring is not open on that day, and one in the hour that comes twice in
//     autumn is open twice.
//   - A rule fires once for each time of the wall clock that it names. A time that is
//     skipped in spring does not fire; one that comes twice in autumn fires the first time.
package timetable

import (
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // the program must know the zones also where the system has none; it takes 400 KB
)

// Zone returns the time zone of a name such as UTC or Asia/Shanghai. The zone of this
// machine has no name here: a file must mean the same on all machines.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, errors.New("names no time zone such as UTC or Asia/Shanghai")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone such as UTC or Asia/Shanghai", name)
	}
	return zone, nil
}
