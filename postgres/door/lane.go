package door

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/genericcorp/corp"
)

// laneWidth is how many transactions of one workspace are under way at a time in
// each of its lanes. Each ends with the workspace's next event, whose number they
// take one after the other: more of them would only wait in the database for each
// other, and hold the connections that other workspaces need.
const laneWidth = 3

// The lanes of a workspace. Whoever submits without end does not keep the runs that
// are leased from beginning and ending: they hold runners that others wait for.
const (
	LaneOfTasks = iota // tasks and batches that come, are cancelled or redriven
	LaneOfRuns         // what runners say of the runs that they hold
)

// lanes has the transactions of each workspace wait here, in the order in which
// they came, instead of in the database.
type lanes struct {
	width int64

	mu sync.Mutex
	of map[laneName]*lane // those in use
}

type laneName struct {
	workspace corp.WorkspaceID
	which     int
}

type lane struct {
	*semaphore.Weighted
	users int // inside and waiting
}

func newLanes(conns int32) *lanes {
	return &lanes{width: int64(max(1, min(laneWidth, conns/3))), of: map[laneName]*lane{}}
}

// enter waits for a place in a lane. Whoever has one must not wait for another.
func (l *lanes) enter(ctx context.Context, name laneName) (leave func(), err error) {
	l.mu.Lock()
	in := l.of[name]
	if in == nil {
		in = &lane{Weighted: semaphore.NewWeighted(l.width)}
		l.of[name] = in
	}
	in.users++
	l.mu.Unlock()
	if err := in.Acquire(ctx, 1); err != nil {
		l.gone(name, in)
		return nil, err
	}
	return func() {
		in.Release(1)
		l.gone(name, in)
	}, nil
}

func (l *lanes) gone(name laneName, in *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.users--; in.users == 0 {
		delete(l.of, name)
	}
}

// Lanes returns how many lanes are in use.
func (db *DB) Lanes() int {
	db.lanes.mu.Lock()
	defer db.lanes.mu.Unlock()
	return len(db.lanes.of)
}
