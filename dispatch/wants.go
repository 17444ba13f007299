package dispatch

import (
	"maps"
	"slices"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// wants is what the memory wishes to be read, the most urgent kinds first.
type wants struct {
	runs  map[corp.RunID]postgres.RunRef // that somebody said have changed
	looks map[corp.WorkspaceID]struct{}  // of which anything may have changed
	mores map[corp.WorkspaceID]struct{}  // of whose queue little is left
	later []laterRun                     // runs to be read at a time, the next first

	hurry   bool             // the sweep goes on page after page
	after   corp.WorkspaceID // how far the sweep has come; zero is the start
	pageAt  time.Time
	soonAt  time.Time
	watchAt time.Time // what was lost is looked for, while a runner waits
	rest    time.Time // nothing is read before, after a failure
}

type laterRun struct {
	ref postgres.RunRef
	at  time.Time
}

// newWants begins with everything.
func newWants() wants {
	return wants{runs: map[corp.RunID]postgres.RunRef{}, looks: map[corp.WorkspaceID]struct{}{}, mores: map[corp.WorkspaceID]struct{}{}, hurry: true}
}

func (w *wants) run(ref postgres.RunRef)  { w.runs[ref.RunID] = ref }
func (w *wants) look(ws corp.WorkspaceID) { w.looks[ws] = struct{}{} }
func (w *wants) more(ws corp.WorkspaceID) { w.mores[ws] = struct{}{} }

func (w *wants) runLater(ref postgres.RunRef, at time.Time) {
	w.later = append(w.later, laterRun{ref, at})
}

// sweepAll begins the sweep anew, without rest until it is through.
func (w *wants) sweepAll() { w.hurry, w.after, w.soonAt = true, corp.WorkspaceID{}, time.Time{} }

// ripen makes due what was to be read later.
func (w *wants) ripen(now time.Time) {
	for len(w.later) > 0 && !w.later[0].at.After(now) {
		w.run(w.later[0].ref)
		w.later = w.later[1:]
	}
}

// next returns when something is to be read. hungry says that a runner waits.
func (w *wants) next(now time.Time, hungry bool) time.Time {
	if w.rest.After(now) {
		return w.rest
	}
	if len(w.runs)+len(w.looks)+len(w.mores) > 0 || w.hurry {
		return now
	}
	first := w.pageAt
	times := []time.Time{w.soonAt}
	if hungry {
		times = append(times, w.watchAt)
	}
	if len(w.later) > 0 {
		times = append(times, w.later[0].at)
	}
	for _, t := range times {
		if t.Before(first) {
			first = t
		}
	}
	return first
}

// some takes at most n keys out of a set.
func some[K comparable, V any](set map[K]V, n int) []K {
	keys := make([]K, 0, min(n, len(set)))
	for k := range maps.Keys(set) {
		if len(keys) == n {
			break
		}
		keys = append(keys, k)
	}
	for _, k := range keys {
		delete(set, k)
	}
	return slices.Clip(keys)
}
