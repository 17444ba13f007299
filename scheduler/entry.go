package scheduler

import (
	"bytes"
	"cmp"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/genericcorp/corp"
)

// entry is an Item, kept small because there may be a million: what many share
// stands in the lane.
type entry struct {
	run       corp.RunID
	lane      *lane
	epoch     int64
	created   int64 // microseconds, as the database counts
	notBefore int64 // the same; atOnce when there is none
	priority  int32
	place     int32 // in its lane's heap, or among those not due
	due       bool
}

const atOnce = math.MinInt64

func newEntry(it Item, ln *lane) *entry {
	e := &entry{
		run: it.Run, lane: ln, epoch: it.Epoch, created: it.CreatedAt.UnixMicro(), notBefore: atOnce, place: -1,
		priority: int32(min(max(it.Priority, math.MinInt32), math.MaxInt32)),
	}
	if !it.NotBefore.IsZero() {
		e.notBefore = it.NotBefore.UnixMicro()
	}
	return e
}

// item gives back what was added.
func (e *entry) item() Item {
	ln := e.lane
	it := Item{
		Workspace: ln.stand.of.id, Run: e.run, Epoch: e.epoch, Agent: ln.agent, Repository: ln.repository,
		Priority: int(e.priority), Labels: ln.stand.shape.labels, Runtime: ln.stand.shape.runtime, CreatedAt: time.UnixMicro(e.created).UTC(),
	}
	if e.notBefore != atOnce {
		it.NotBefore = time.UnixMicro(e.notBefore).UTC()
	}
	return it
}

// entries goes over what a workspace has waiting. What it yields may be removed
// meanwhile.
func (ws *workspace) entries() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, st := range ws.stands {
			for _, ln := range st.lanes {
				for _, e := range slices.Concat(ln.due.items, slices.Collect(maps.Keys(ln.undue))) {
					if !yield(e) {
						return
					}
				}
			}
		}
	}
}

func place(e *entry, i int) { e.place = int32(i) }

// before is the order within a workspace: priority, then age, then the id, so
// that it is total.
func before(a, b *entry) bool {
	if a.priority != b.priority {
		return a.priority > b.priority
	}
	return older(a, b) < 0
}

func older(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.created, b.created), bytes.Compare(a.run[:], b.run[:]))
}

func sooner(a, b *entry) bool {
	return cmp.Or(cmp.Compare(a.notBefore, b.notBefore), older(a, b)) < 0
}
