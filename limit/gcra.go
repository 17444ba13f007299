package limit

import "time"

// The generic cell rate algorithm as ITU-T I.371 (annex A, "virtual scheduling")
// has it. For each key one moment is kept: when, by the agreed rate, all that was
// admitted so far would be paid off (the theoretical arrival time). With
//
//	interval  = window / quota        the price of a unit, in time
//	tolerance = interval * burst      how far the moment may be ahead of now
//
// a request of cost units is admitted when max(moment, now) + cost*interval is not
// later than now + tolerance, and that sum becomes the moment. So what is admitted
// from a time t to t+window costs at most tolerance + window: burst + quota units.
//
// Here everything is said relative to now: ahead is how far the moment is ahead.
// Times are whole microseconds, in which the arithmetic of this package and that
// of the script in Redis agree; an interval that is none is rounded up, which
// admits less and never more.

// interval is what a unit costs, in microseconds.
func (p Policy) interval() int64 {
	return (p.Window.Microseconds() + p.Quota - 1) / p.Quota
}

// tolerance is what may be used at once, in microseconds.
func (p Policy) tolerance() int64 { return p.interval() * p.Burst }

// within corrects an ahead that the policy cannot have led to: the past pays
// nothing in advance, and a larger one is of another policy (the plan changed) or
// of a clock that was set back.
func (p Policy) within(ahead int64) int64 { return min(max(ahead, 0), p.tolerance()) }

// over is by how many microseconds the ask comes too early; 0 or less is in time.
func (a Ask) over(ahead int64) int64 {
	return ahead + a.Cost*a.Policy.interval() - a.Policy.tolerance()
}

// fill says how a limit stands after an ask of which all limits together said
// whether it is denied.
func (s *State) fill(a Ask, ahead int64, denied bool) {
	if s.Denied {
		s.RetryAfter = time.Duration(a.over(ahead)) * time.Microsecond
	}
	if !denied {
		ahead += a.Cost * a.Policy.interval()
	}
	s.Remaining = (a.Policy.tolerance() - ahead) / a.Policy.interval()
	s.ResetAfter = time.Duration(ahead) * time.Microsecond
}

// The pauses after failures.
const (
	longestPause = time.Minute
	forgetAfter  = time.Hour
)

// pause is how long nothing may be tried after the nth failure in a row.
func pause(failures int64) time.Duration {
	if failures < 1 {
		return 0
	}
	return min(time.Second<<min(failures-1, 16), longestPause)
}
