package postgres

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/genericcorp/corp"
)

// laneWidth is how many transactions of one workspace are under way at a time, of
// those of which there may be many: a flood of tasks, batches, entries or
// cancellations. Each ends with the workspace's next event, whose number they take
// one after the other: more of them would only wait in the database for each
// other, and hold the connections that other workspaces need.
const laneWidth = 3

// lanes has the transactions of each workspace wait here, in the order in which
// they came, instead of in the database.
type lanes struct {
	width int64

	mu sync.Mutex
	of map[corp.WorkspaceID]*lane // those in use
}

type lane struct {
	*semaphore.Weighted
	users int // inside and waiting
}

func newLanes(conns int32) *lanes {
	return &lanes{width: int64(max(1, min(laneWidth, conns/2))), of: map[corp.WorkspaceID]*lane{}}
}

// enter waits for a place in the workspace's lane. Whoever has one must not wait
// for another.
func (l *lanes) enter(ctx context.Context, ws corp.WorkspaceID) (leave func(), err error) {
	l.mu.Lock()
	in := l.of[ws]
	if in == nil {
		in = &lane{Weighted: semaphore.NewWeighted(l.width)}
		l.of[ws] = in
	}
	in.users++
	l.mu.Unlock()
	if err := in.Acquire(ctx, 1); err != nil {
		l.gone(ws, in)
		return nil, err
	}
	return func() {
		in.Release(1)
		l.gone(ws, in)
	}, nil
}

func (l *lanes) gone(ws corp.WorkspaceID, in *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.users--; in.users == 0 {
		delete(l.of, ws)
	}
}
