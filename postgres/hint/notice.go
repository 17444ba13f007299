// Package hint carries hints between and within the servers: what a commit may
// have changed, said after it.
//
// Nothing of it is in the transaction: NOTIFY in one makes all commits wait for
// each other. The listeners of the process hear at once, with what stands in the
// row; other processes hear some milliseconds later, and only that something
// changed. A hint may be lost or doubled: whoever listens also looks now and then.
// It reads no table and decides nothing.
package hint

import (
	"time"

	"github.com/genericcorp/corp"
)

// The kinds of notices.
const (
	Event  = "event"
	Queue  = "queue"
	Limits = "limits" // how much may run at a time, or whose share is how large
	Access = "access" // who may do what: of a workspace, or of a person
	Resync = "resync" // anything may have been missed
)

// Notice says that something may have changed. It is a hint: the rows are the truth.
type Notice struct {
	Kind      string // one of the kinds; "resync" also after every (re)connect
	Workspace corp.WorkspaceID
	Seq       int64       // with "event": of the newest one
	Run       corp.RunID  // with "queue": the run that changed; zero means any of the workspace's
	User      corp.UserID // with "access": the person; zero means everybody of the workspace

	// What stands in the row, so that this process need not read it. Others are
	// told only that the run changed.
	Queued *QueuedRun
	Ended  bool // the run is final: neither in the queue nor in hand
}

// QueuedRun is a run that waits for a runner.
type QueuedRun struct {
	Workspace    corp.WorkspaceID
	RunID        corp.RunID
	TaskID       corp.TaskID
	AgentID      corp.AgentID
	RepositoryID corp.RepositoryID // zero: none of the workspace's
	Runtime      string
	Epoch        int64 // of its last lease; a claim makes it one more
	Priority     int
	Labels       []string
	NotBefore    *time.Time
	DueInMS      *int64 // until NotBefore, by the database's clock
	CreatedAt    time.Time
}
