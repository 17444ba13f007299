package corp

// Plan is what a workspace pays for. In every number 0 is unlimited.
type Plan struct {
	Name                 string `json:"name"`
	Weight               int    `json:"weight"`            // share among the plans
	Priority             int    `json:"priority"`          // of its tasks, higher first
	Concurrency          int    `json:"concurrency"`       // runs leased at a time
	Agents               int    `json:"agents"`            // that are not archived
	Users                int    `json:"users"`             // members
	TasksPerDay          int64  `json:"tasks_per_day"`     // in any 24 hours
	RequestsPerHour      int64  `json:"requests_per_hour"` // a change counts two, a submission ten
	RequestBurst         int64  `json:"request_burst"`     // of those at once, after a rest
	AgentMinutesPerMonth int64  `json:"agent_minutes_per_month"`
	Streams              int    `json:"streams"`             // open at a time, on each server
	MessagesPerSecond    int    `json:"messages_per_second"` // on each stream; what is more comes later
}

// MaxSchedules is how many schedules a workspace may have that are not archived,
// whatever its plan.
const MaxSchedules = 1000

// Limit is a ceiling on a count, and what is left beneath it now.
type Limit struct {
	Name  string `json:"name"`            // agents, tasks, requests …
	Limit int64  `json:"limit"`           // 0 is unlimited
	Left  *int64 `json:"left,omitempty"`  // absent without a limit, and of what is not counted yet
	Every string `json:"every,omitempty"` // hour, day or month; empty for what there is at a time
}

// Limits is a workspace's plan and how much of it is left.
type Limits struct {
	Plan   Plan    `json:"plan"`
	Limits []Limit `json:"limits"`
}
