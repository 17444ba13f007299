package corp

import "time"

// Runner is a process that carries out runs. A pool runner belongs to the
// installation and serves every workspace; the others belong to one.
type Runner struct {
	ID        RunnerID  `json:"id"`
	Name      string    `json:"name"`
	Pool      bool      `json:"pool"`
	State     string    `json:"state"` // online, draining, offline
	Slots     int       `json:"slots"`
	Labels    []string  `json:"labels"`
	Sandbox   string    `json:"sandbox"`
	Version   string    `json:"version"`
	Protocol  int       `json:"protocol"`
	Leased    int       `json:"leased"` // runs it holds now
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at"`
}

// The states of a runner.
const (
	RunnerOnline   = "online"
	RunnerDraining = "draining"
	RunnerOffline  = "offline"
)

// Registration is how a runner introduces itself, once per process.
type Registration struct {
	Protocols []int    `json:"protocols" minItems:"1" doc:"Versions of the runner protocol that it speaks."`
	Name      string   `json:"name" minLength:"1" maxLength:"120"`
	Instance  string   `json:"instance" minLength:"8" maxLength:"64" doc:"Random per process: a repeated registration of the same process changes nothing."`
	Slots     int      `json:"slots" minimum:"1" maximum:"1000"`
	Labels    []string `json:"labels,omitempty" maxItems:"50"`
	Runtimes  []string `json:"runtimes" minItems:"1"`
	Sandbox   string   `json:"sandbox" enum:"bubblewrap,none"`
	Version   string   `json:"version" maxLength:"120"`
}

// Registered is the server's answer. Only durations cross the wire; each side
// measures them on its own monotonic clock.
type Registered struct {
	RunnerID    RunnerID `json:"runner_id"`
	Protocol    int      `json:"protocol"`
	GatewayURL  string   `json:"gateway_url"`
	GatewayURLs []string `json:"gateway_urls,omitempty"` // the same and those of the other servers, for when it cannot be reached
	PollWaitMS  int64    `json:"poll_wait_ms"`
	AckMS       int64    `json:"ack_ms"` // an offer not acknowledged within this returns to the queue
	HeartbeatMS int64    `json:"heartbeat_ms"`
	TTLMS       int64    `json:"ttl_ms"` // of a lease, from the last good heartbeat
	// Private networks, addresses and hosts that git may reach, as the operator listed
	// them; "all" is all of them. A runner that was told its own list keeps to that.
	AllowPrivate []string `json:"allow_private,omitempty"`
	MarginMS     int64    `json:"margin_ms"` // the runner stops itself at TTL - margin, the server reclaims at TTL + margin
}

// Poll asks for work. A repeated Seq returns the same answer, so that a lost
// response loses no run.
type Poll struct {
	Seq    int64 `json:"seq" minimum:"1"`
	Free   int   `json:"free" minimum:"0" maximum:"1000"`
	WaitMS int64 `json:"wait_ms" minimum:"0" maximum:"60000"`
}

// PollAnswer is what a poll returns; no offers means ask again.
type PollAnswer struct {
	Offers []Offer `json:"offers"`
	Drain  bool    `json:"drain,omitempty"` // take nothing new, finish, leave
}

// Lease is a runner's right to carry out a run. Secret and RunKey are new with
// each epoch. Secret proves the lease to the server and never enters the
// sandbox; RunKey is what the agent's model calls carry.
type Lease struct {
	RunID  RunID  `json:"run_id"`
	Epoch  int64  `json:"epoch"`
	Secret string `json:"secret"`
}

// Offer is a leased run with all that is needed to carry it out.
type Offer struct {
	Lease
	TaskID     TaskID         `json:"task_id"`
	Attempt    int            `json:"attempt"`
	RunKey     string         `json:"run_key"`
	TraceID    string         `json:"trace_id"`
	Spec       TaskSpec       `json:"spec"`
	Agent      Agent          `json:"agent"`
	Repository RepositorySpec `json:"repository"`
	Credential *GitCredential `json:"credential,omitempty"`
	Model      ModelFacts     `json:"model"`
	TimeoutMS  int64          `json:"timeout_ms"`
}

// ModelFacts is what the server knows of an agent's model: how its provider is
// spoken to, and its limits in tokens as the price book has them. Empty and 0
// mean that they are not known.
type ModelFacts struct {
	Dialect       string `json:"dialect"`
	ContextWindow int64  `json:"context_window"`
	MaxOutput     int64  `json:"max_output"`
}

// Beat renews leases, all of a runner in one request.
type Beat struct {
	Leases   []Lease `json:"leases" maxItems:"1000"`
	Draining bool    `json:"draining,omitempty"`
	Free     int     `json:"free" minimum:"0"`
}

// Verdict is the answer to one lease of a beat.
type Verdict struct {
	RunID   RunID  `json:"run_id"`
	Say     string `json:"say" enum:"ok,stop,lost"`
	Reason  Reason `json:"reason,omitempty"` // with stop: cancelled, budget, timeout
	Detail  string `json:"detail,omitempty"`
	GraceMS int64  `json:"grace_ms,omitempty"` // with stop: how long the agent may take to end
}

// What a verdict says.
const (
	VerdictOK   = "ok"
	VerdictStop = "stop" // end the agent within the grace time and finish the run
	VerdictLost = "lost" // the run is not yours any more: kill it and say nothing
)

// BeatAnswer carries a verdict for each lease of a beat.
type BeatAnswer struct {
	Verdicts []Verdict `json:"verdicts"`
	Drain    bool      `json:"drain,omitempty"`
}

// EntryBatch reports transcript entries. Indexes that the server has are
// ignored, so a batch may be sent again.
type EntryBatch struct {
	Lease
	Entries []Entry `json:"entries" maxItems:"500"`
}

// Finish ends a run. Repeating the same outcome under the same lease succeeds.
type Finish struct {
	Lease
	Outcome Outcome `json:"outcome"`
}
