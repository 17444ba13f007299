package corp

import "time"

// ScheduleSpec is a task that is submitted again and again, by the clock.
type ScheduleSpec struct {
	Name     string   `json:"name" minLength:"1" maxLength:"60" pattern:"^[a-z0-9][a-z0-9-]*$" doc:"Unique in the workspace: lower-case letters, digits and dashes."`
	Cron     string   `json:"cron" minLength:"1" maxLength:"200" doc:"Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly."`
	TimeZone string   `json:"time_zone,omitempty" maxLength:"60" doc:"A name of the IANA database, for instance Europe/Berlin; left out means UTC."`
	Missed   string   `json:"missed,omitempty" enum:"run_once,skip" doc:"What to do about times that passed while nobody served: submit once (the default) or not at all."`
	Paused   bool     `json:"paused,omitempty" doc:"Submit nothing until it is resumed."`
	Task     TaskSpec `json:"task" doc:"What is submitted; not_before and deadline_at name a moment and cannot be used."`
}

// ScheduleUpdate changes what it names; what is nil stays as it is.
type ScheduleUpdate struct {
	Name     *string   `json:"name,omitempty" minLength:"1" maxLength:"60" pattern:"^[a-z0-9][a-z0-9-]*$" doc:"Unique in the workspace: lower-case letters, digits and dashes."`
	Cron     *string   `json:"cron,omitempty" minLength:"1" maxLength:"200" doc:"Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly."`
	TimeZone *string   `json:"time_zone,omitempty" maxLength:"60" doc:"A name of the IANA database, for instance Europe/Berlin."`
	Missed   *string   `json:"missed,omitempty" enum:"run_once,skip" doc:"What to do about times that passed while nobody served."`
	Paused   *bool     `json:"paused,omitempty" doc:"true pauses it, false resumes it at the next time that is still to come."`
	Task     *TaskSpec `json:"task,omitempty" doc:"What is submitted from now on, whole."`
}

// What becomes of a schedule's times that passed while nobody served. A time is
// missed when nobody came to it within MissedAfter.
const (
	MissedRunOnce = "run_once"
	MissedSkip    = "skip"
	MissedAfter   = time.Minute
)

// Schedule is a stored spec and when it comes next.
type Schedule struct {
	ID ScheduleID `json:"id"`
	ScheduleSpec
	NextAt     *time.Time `json:"next_at,omitempty"` // nil while it is paused or archived
	LastAt     *time.Time `json:"last_at,omitempty"`
	LastTaskID *TaskID    `json:"last_task_id,omitempty"`
	LastError  string     `json:"last_error,omitempty"` // why the last time made no task
	CreatedBy  Actor      `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ArchivedAt *time.Time `json:"archived_at,omitempty"`
}
