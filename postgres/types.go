package postgres

import (
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/hint"
)

// Notice says that something may have changed. It is a hint: the rows are the truth.
type Notice = hint.Notice

// The kinds of notices.
const (
	NoticeEvent  = hint.Event
	NoticeQueue  = hint.Queue
	NoticeLimits = hint.Limits
	NoticeAccess = hint.Access
	NoticeResync = hint.Resync
)

// RunIdentity is who makes a model call: a run that is leased now.
type RunIdentity struct {
	Workspace    corp.WorkspaceID
	RunID        corp.RunID
	TaskID       corp.TaskID
	AgentID      corp.AgentID
	AgentVersion int
	Epoch        int64
	TraceID      string
	StopReason   corp.Reason // not empty when the run must stop: no new call may begin
}

// LeaseIdentity is what a lease's secret proves.
type LeaseIdentity struct {
	Workspace corp.WorkspaceID
	Epoch     int64
	State     corp.RunState // final after the finish, which may be repeated
}

// Idempotency makes a request safe to repeat. The empty key asks for nothing.
type Idempotency struct {
	Key         string
	RequestHash []byte
}

// Grant is what a budget has just added to a server's open allowance.
type Grant struct {
	AllowanceID corp.AllowanceID
	BudgetID    corp.BudgetID
	TaskID      corp.TaskID // zero for the workspace's own budget
	Added       corp.Nanodollars
	Limit       corp.Nanodollars
	Spent       corp.Nanodollars
	Granted     corp.Nanodollars // to all servers together, this grant included
}

// Charge says which allowance a call's cost comes out of.
type Charge struct {
	AllowanceID corp.AllowanceID
	BudgetID    corp.BudgetID
}

// CallRecord is a call for the ledger and the allowances that paid for it.
type CallRecord struct {
	corp.Call
	Charges []Charge
}

// CallFilter narrows a list of calls; the zero filter lists all.
type CallFilter struct {
	Task corp.TaskID
	Run  corp.RunID
}

// UsageFilter says which calls to sum up, and by what: "" (one total), "day",
// "model", "agent" or "task". A zero time leaves that end open.
type UsageFilter struct {
	From, To time.Time // from From on, before To
	By       string
}

// QueuedRun is a run that waits for a runner.
type QueuedRun = hint.QueuedRun

// LeasedRun is a run that takes up a slot.
type LeasedRun struct {
	Workspace    corp.WorkspaceID
	RunID        corp.RunID
	RunnerID     corp.RunnerID
	AgentID      corp.AgentID
	RepositoryID corp.RepositoryID
	Epoch        int64
	AgeMS        int64 // since it was leased, by the database's clock
}

// RunNow is where a run stands. One that is final or not there has neither.
type RunNow struct {
	RunID  corp.RunID
	Queued *QueuedRun
	Leased *LeasedRun
}

// WorkspaceQueue is what the leader knows of one workspace: what it may have, all
// that it has in hand, and the head of what it has queued that is not to wait for
// a time, in order.
type WorkspaceQueue struct {
	Workspace    corp.WorkspaceID
	Plan         string
	PlanWeight   int
	Weight       int
	Concurrency  int                       // by plan and own limit; 0 is unlimited
	Agents       map[corp.AgentID]int      // those that have a limit
	Repositories map[corp.RepositoryID]int // likewise
	Leased       []LeasedRun
	Head         []QueuedRun
	Whole        bool // nothing is queued behind the head
}

// Place is one in the order of a workspace's queue. The zero place is before all.
type Place struct {
	Workspace corp.WorkspaceID
	Priority  int
	CreatedAt time.Time
	RunID     corp.RunID
}

// Claim asks to lease one queued run to one runner.
type Claim struct {
	Workspace  corp.WorkspaceID
	RunID      corp.RunID
	Epoch      int64 // the queued run's epoch plus one
	RunnerID   corp.RunnerID
	RunnerName string
	LeaseHash  []byte
	RunKeyHash []byte
	AckWithin  time.Duration // the offer returns to the queue after this
	TTL        time.Duration // of the lease that the acknowledgement begins, until the first heartbeat; 0 means 3 x AckWithin
}

// KnownRunner is what a registration wrote down about a runner that placing runs
// needs.
type KnownRunner struct {
	ID       corp.RunnerID
	Name     string
	Labels   []string
	Runtimes []string
}

// LeaseProof is a lease that a runner says it holds.
type LeaseProof struct {
	RunID      corp.RunID
	Epoch      int64
	SecretHash []byte
}

// RunRef names a run under one lease.
type RunRef struct {
	Workspace corp.WorkspaceID
	RunID     corp.RunID
	Epoch     int64
}

// TaskRef names a task.
type TaskRef struct {
	Workspace corp.WorkspaceID
	TaskID    corp.TaskID
}

// ScheduleRef names one time of a schedule.
type ScheduleRef struct {
	Workspace  corp.WorkspaceID
	ScheduleID corp.ScheduleID
	Due        time.Time
}

// AllowanceRef names an allowance of a server.
type AllowanceRef struct {
	Workspace   corp.WorkspaceID
	AllowanceID corp.AllowanceID
	BudgetID    corp.BudgetID
}

// InstallationProvider is a vendor account that every workspace may use, and the
// environment variable that holds its key.
type InstallationProvider struct {
	corp.Provider
	KeyEnv string
}
