package scheduler

import (
	"slices"
	"time"

	"github.com/genericcorp/corp"
)

// Explanation says what a run waits for, as far as the queue knows.
type Explanation struct {
	Cause    corp.WaitCause
	Position int           // in its workspace, from 1, by the order in which its runs go; 0 unless it is due
	Limit    int           // with a limit as the cause: how many may be in hand
	InUse    int           // and how many are
	Until    time.Time     // with WaitTime
	About    time.Duration // until it starts, a guess; read it if Known
	Known    bool
}

// Explain says what a run waits for, given the runners that there are. It takes
// time in proportion to the number of workspaces and of runs that wait in the
// run's own.
//
// The guess: of the slots of the runners that fit, a workspace may expect those
// of its class by weight, of these its own by weight among those of its class
// that want any, and no more than its limits. With m of them, h runs in hand and
// a run's average d, the run at position p starts after (p-max(0, m-h))·d/m.
func (s *Scheduler) Explain(run corp.RunID, runners []Runner, now time.Time) Explanation {
	s.promote(now)
	e := s.waiting[run]
	if e == nil {
		return Explanation{Cause: corp.WaitNothing, Known: true}
	}
	if !e.due {
		until := e.item().NotBefore
		return Explanation{Cause: corp.WaitTime, Until: until, About: until.Sub(now), Known: true}
	}
	ws := e.lane.stand.of
	x := Explanation{Position: 1}
	for other := range ws.entries() {
		if other.due && before(other, e) {
			x.Position++
		}
	}
	slots, free := fitting(e.item(), runners)
	x.Cause, x.Limit, x.InUse = s.cause(e, slots, free)
	if x.Known = slots > 0 && ws.known; x.Known {
		x.About = s.about(e, x.Position, slots)
	}
	return x
}

// cause returns what holds a due run up, the narrowest first.
func (s *Scheduler) cause(e *entry, slots, free int) (cause corp.WaitCause, limit, inUse int) {
	ws := e.lane.stand.of
	switch agent, repository := e.lane.gates[0], e.lane.gates[1]; {
	case ws.limit > 0 && len(ws.held) >= ws.limit:
		return corp.WaitWorkspaceLimit, ws.limit, len(ws.held)
	case agent.closed():
		return corp.WaitAgentLimit, agent.limit, len(agent.held)
	case repository.closed():
		return corp.WaitRepositoryLimit, repository.limit, len(repository.held)
	case slots == 0:
		return corp.WaitNoRunner, 0, 0
	case free == 0:
		return corp.WaitRunnersBusy, 0, 0
	default:
		return corp.WaitTurn, 0, 0
	}
}

// fitting adds up the slots of the runners that could take an item.
func fitting(it Item, runners []Runner) (slots, free int) {
	for _, r := range runners {
		if !r.Workspace.IsZero() && r.Workspace != it.Workspace || !slices.Contains(r.Runtimes, it.Runtime) {
			continue
		}
		if slices.ContainsFunc(it.Labels, func(label string) bool { return !slices.Contains(r.Labels, label) }) {
			continue
		}
		slots += r.Slots
		free += r.Free
	}
	return slots, free
}

func (s *Scheduler) about(e *entry, position, slots int) time.Duration {
	ws := e.lane.stand.of
	mine := float64(slots) * s.part(ws)
	limits := []int{ws.limit}
	for _, g := range e.lane.gates {
		if g != nil {
			limits = append(limits, g.limit)
		}
	}
	for _, limit := range limits {
		if limit > 0 {
			mine = min(mine, float64(limit))
		}
	}
	ahead := float64(position) - max(0, mine-float64(len(ws.held)))
	if ahead <= 0 || mine <= 0 {
		return 0
	}
	return time.Duration(min(ahead*ws.guess().Seconds()/mine, (365*24*time.Hour).Seconds()) * float64(time.Second))
}

// part returns a workspace's part of all slots while those that want any now do.
func (s *Scheduler) part(ws *workspace) float64 {
	classes, members := map[*class]struct{}{ws.class: {}}, ws.weight
	for _, other := range s.workspaces {
		if other == ws || !other.known || other.waiting == 0 && len(other.held) == 0 {
			continue
		}
		classes[other.class] = struct{}{}
		if other.class == ws.class {
			members += other.weight
		}
	}
	all := 0.0
	for c := range classes {
		all += c.weight
	}
	return ws.class.weight / all * ws.weight / members
}
