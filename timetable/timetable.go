// Package timetable computes when a cron expression comes next on the clocks of
// a time zone: pure, and with no clock of its own.
//
// The expression has five fields; what it means is robfig/cron's, and the change
// to and from summer time is ours. A time that the clocks leave out comes when
// they have jumped, and several of them come once; a time that they show twice
// comes the first time. An expression for every hour is about the rhythm and not
// about a time of day: it comes whenever the clocks match, so twice in an hour
// that is repeated and never in one that is left out.
//
// It refuses what never comes, what is more frequent than a minute and what is
// counted from the last time (@every): a restart would change it.
package timetable

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/genericcorp/corp"
)

// Timetable is an expression and the zone whose clocks it is about. It is safe
// for concurrent use.
type Timetable struct {
	spec  *cron.SpecSchedule
	zone  *time.Location
	every bool // hour: it is about the rhythm
}

const (
	everyHour  = 1<<24 - 1
	maxZoneLen = 60
)

var (
	parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	fields = []string{"minute", "hour", "day of month", "month", "day of week"}
)

// Parse reads an expression and the name of a zone; the empty name is UTC. What
// cannot be read or never comes is invalid, with the field cron or time_zone.
func Parse(expression, zone string) (*Timetable, error) {
	location, err := parseZone(zone)
	if err != nil {
		return nil, err
	}
	spec, err := parse(strings.TrimSpace(expression))
	if err != nil {
		return nil, err
	}
	t := &Timetable{spec: spec, zone: location, every: spec.Hour&everyHour == everyHour}
	if _, ever := t.nextWall(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); !ever {
		return nil, corp.Invalid("cron", fmt.Sprintf("%q never comes: no year has such a day.", expression), "Name a day that the month has.")
	}
	return t, nil
}

func parseZone(name string) (*time.Location, error) {
	location, err := time.LoadLocation(name)
	if err != nil || name == "Local" || len(name) > maxZoneLen {
		return nil, corp.Invalid("time_zone", fmt.Sprintf("%.60q is not a time zone.", name), "Use a name of the IANA database, like Europe/Berlin, or leave it out for UTC.")
	}
	return location, nil
}

func parse(expression string) (*cron.SpecSchedule, error) {
	const hint = "Write minute, hour, day of month, month and day of week, like 30 2 * * 1-5; or @hourly, @daily, @weekly or @monthly."
	switch parts := strings.Fields(expression); {
	case strings.Contains(expression, "TZ="):
		return nil, corp.Invalid("cron", "A cron expression holds no time zone here.", "Name it with time_zone.")
	case strings.HasPrefix(expression, "@every"):
		return nil, corp.Invalid("cron", "A schedule follows the clock and cannot be counted from its last time.", "Instead of @every 15m write */15 * * * *.")
	case strings.HasPrefix(expression, "@"):
		if schedule, err := parser.Parse(expression); err == nil {
			if spec, ok := schedule.(*cron.SpecSchedule); ok {
				return onWall(spec), nil
			}
		}
		return nil, corp.Invalid("cron", fmt.Sprintf("There is no %.40q.", expression), hint)
	case len(parts) != len(fields):
		return nil, corp.Invalid("cron", fmt.Sprintf("A cron expression has five fields; this one has %d.", len(parts)), hint)
	default:
		return parseFields(parts, hint)
	}
}

// parseFields reads one field after the other, so that the wrong one can be named.
func parseFields(parts []string, hint string) (*cron.SpecSchedule, error) {
	for i, part := range parts {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = part
		if _, err := parser.Parse(strings.Join(alone, " ")); err != nil {
			return nil, corp.Invalid("cron", fmt.Sprintf("The %s %.40q is not understood.", fields[i], part), hint)
		}
	}
	schedule, err := parser.Parse(strings.Join(parts, " "))
	spec, ok := schedule.(*cron.SpecSchedule)
	if err != nil || !ok {
		return nil, corp.Invalid("cron", "The cron expression is not understood.", hint)
	}
	return onWall(spec), nil
}

// onWall makes the library count on a clock that never jumps; the zone is ours.
func onWall(spec *cron.SpecSchedule) *cron.SpecSchedule {
	spec.Location = time.UTC
	return spec
}

// Next returns the first time after this one, in UTC, and false when there is
// none any more.
func (t *Timetable) Next(after time.Time) (time.Time, bool) {
	if t.every {
		return t.nextMatch(after)
	}
	return t.nextOnce(after)
}

// nextOnce finds the next time of day, each of which comes once.
func (t *Timetable) nextOnce(after time.Time) (time.Time, bool) {
	wall := wallOf(after.In(t.zone))
	for {
		next, ever := t.nextWall(wall)
		if !ever {
			return time.Time{}, false
		}
		// In an hour that is repeated the first times to come are over already.
		if at := t.reached(next); at.After(after) {
			return at, true
		}
		wall = next
	}
}

// reached is the first moment at which the zone's clocks have come as far as wall.
func (t *Timetable) reached(wall time.Time) time.Time {
	// Two days before, no clock on earth has.
	for at := wall.Add(-48 * time.Hour); ; {
		start, end, offset := bounds(at.In(t.zone))
		switch moment := wall.Add(-offset); {
		case moment.Before(start): // the clocks jumped over it
			return start
		case end.IsZero() || moment.Before(end):
			return moment
		}
		at = end
	}
}

// nextMatch finds the next moment whose clock time fits, between one change of
// the clocks and the next.
func (t *Timetable) nextMatch(after time.Time) (time.Time, bool) {
	at := after
	for {
		_, end, offset := bounds(at.In(t.zone))
		next, ever := t.nextWall(after.UTC().Add(offset))
		if !ever {
			return time.Time{}, false
		}
		if moment := next.Add(-offset); end.IsZero() || moment.Before(end) {
			return moment, true
		}
		at, after = end, end.Add(-time.Second) // the end itself may fit
	}
}

// nextWall finds the next fitting time on a clock that never jumps, shown as UTC.
// The library looks five years ahead; a leap day can be eight years away.
func (t *Timetable) nextWall(wall time.Time) (next time.Time, ever bool) {
	for range 3 {
		if next = t.spec.Next(wall); !next.IsZero() {
			return next, true
		}
		wall = wall.AddDate(5, 0, 0)
	}
	return next, false
}

// wallOf shows what a zone's clocks show as if it were UTC.
func wallOf(local time.Time) time.Time {
	_, offset := local.Zone()
	return local.UTC().Add(time.Duration(offset) * time.Second)
}

// bounds returns since when and until when the zone's clocks have gone as they do
// at this moment, zero for always, and their distance from UTC.
func bounds(local time.Time) (start, end time.Time, offset time.Duration) {
	_, seconds := local.Zone()
	start, end = local.ZoneBounds()
	if !start.IsZero() {
		start = start.UTC()
	}
	if !end.IsZero() {
		end = end.UTC()
	}
	return start, end, time.Duration(seconds) * time.Second
}
