package corp

import (
	"fmt"
	"strings"
	"time"
)

// The bounds of a graph of tasks.
const (
	MaxAfter = 100    // tasks that one task may follow
	MaxLinks = 50_000 // the same, summed up over a batch
	MaxDepth = 16     // of a tree of tasks, its root counted
)

// BatchStatus is how far a batch has come.
type BatchStatus struct {
	ID        BatchID           `json:"id"`
	Total     int               `json:"total"`  // tasks
	Open      int               `json:"open"`   // of these, that have not ended
	States    map[TaskState]int `json:"states"` // how many tasks are in which state; those of none are left out
	CreatedBy Actor             `json:"created_by"`
	CreatedAt time.Time         `json:"created_at"`
}

// Tree is a task and what is beneath it.
type Tree struct {
	Nodes []TreeNode `json:"nodes"` // each parent before its parts
	More  bool       `json:"more"`  // there are more than fit
}

// TreeNode is one task of a tree.
type TreeNode struct {
	TaskID   TaskID    `json:"task_id"`
	ParentID TaskID    `json:"parent_id,omitzero"`
	Depth    int       `json:"depth"` // 1 for the tree's first
	State    TaskState `json:"state"`
	Reason   Reason    `json:"reason"`
	Agent    string    `json:"agent"`
	Prompt   string    `json:"prompt"` // its first 200 characters
}

// RedriveSpec says which tasks get all their attempts anew. Empty fields do not
// narrow.
type RedriveSpec struct {
	State         TaskState   `json:"state" enum:"dead,failed"`
	Agent         string      `json:"agent,omitempty" maxLength:"80" doc:"Name or id."`
	Reason        Reason      `json:"reason,omitempty" maxLength:"40" doc:"Of the task or of its last run."`
	BatchID       *BatchID    `json:"batch_id,omitempty"`
	ScheduleID    *ScheduleID `json:"schedule_id,omitempty"`
	CreatedBefore *time.Time  `json:"created_before,omitempty"`
	EndedBefore   *time.Time  `json:"ended_before,omitempty" doc:"To go on with a redrive: the at of its first answer, so that a task which dies again meanwhile is not taken twice."`
	Limit         int         `json:"limit,omitempty" minimum:"0" maximum:"1000" doc:"At most so many, the oldest first; 0 means 100."`
	DryRun        bool        `json:"dry_run,omitempty" doc:"Change nothing, and say how many these would be."`
}

// Redriven is how many tasks were redriven, and whether there are more.
type Redriven struct {
	Redriven int       `json:"redriven"`
	More     bool      `json:"more"`
	At       time.Time `json:"at"` // by the database's clock
}

// Order returns the batch's tasks, as indexes, so that each comes after those of
// the batch that it follows. It refuses refs that are not unique or name nobody,
// a task that is followed twice, and a circle, which it names. Fields of its
// errors read tasks[3].after[0].ref.
func (b BatchSpec) Order() ([]int, error) {
	named := make(map[string]int, len(b.Tasks))
	for i, t := range b.Tasks {
		if t.Ref == "" {
			continue
		}
		if first, taken := named[t.Ref]; taken {
			return nil, Invalid(fmt.Sprintf("tasks[%d].ref", i), fmt.Sprintf("The ref %q is that of tasks[%d] already.", t.Ref, first), "Give each task of the batch a ref of its own, or none.")
		}
		named[t.Ref] = i
	}
	follows, links := make([][]int, len(b.Tasks)), 0
	for i, t := range b.Tasks {
		field := fmt.Sprintf("tasks[%d].", i)
		if err := CheckAfter(field, t.After, true); err != nil {
			return nil, err
		}
		if links += len(t.After); links > MaxLinks {
			return nil, Invalid(field+"after", fmt.Sprintf("The batch's tasks follow others more than %d times in all.", MaxLinks), "Put a task between: many that follow it, and it follows many.")
		}
		for j, d := range t.After {
			if d.Ref == "" {
				continue
			}
			on, there := named[d.Ref]
			switch {
			case !there:
				return nil, Invalid(fmt.Sprintf("%safter[%d].ref", field, j), fmt.Sprintf("No task of the batch has the ref %q.", d.Ref), "Name the ref of another task of the same batch, or an older task's task_id.")
			case on == i:
				return nil, Invalid(fmt.Sprintf("%safter[%d].ref", field, j), "A task cannot follow itself.", "Name the ref of another task.")
			}
			follows[i] = append(follows[i], on)
		}
	}
	return b.order(follows)
}

// order sorts by Kahn's algorithm: whoever follows nobody any more goes next.
func (b BatchSpec) order(follows [][]int) ([]int, error) {
	followers, open := make([][]int, len(follows)), make([]int, len(follows))
	sorted := make([]int, 0, len(follows))
	for i, on := range follows {
		if open[i] = len(on); open[i] == 0 {
			sorted = append(sorted, i)
		}
		for _, j := range on {
			followers[j] = append(followers[j], i)
		}
	}
	for n := 0; n < len(sorted); n++ {
		for _, i := range followers[sorted[n]] {
			if open[i]--; open[i] == 0 {
				sorted = append(sorted, i)
			}
		}
	}
	if len(sorted) == len(follows) {
		return sorted, nil
	}
	return nil, b.circle(follows, open)
}

// circle names one of the circles among the tasks that are still open: each of
// them follows another one of them, so walking along must come back.
func (b BatchSpec) circle(follows [][]int, open []int) error {
	at := 0
	for open[at] == 0 {
		at++
	}
	var walk []int
	seen := map[int]int{}
	for {
		if from, back := seen[at]; back {
			walk = walk[from:]
			break
		}
		seen[at] = len(walk)
		walk = append(walk, at)
		for _, on := range follows[at] {
			if open[on] > 0 {
				at = on
				break
			}
		}
	}
	const most = 10
	names := make([]string, 0, most+2)
	for _, i := range walk[:min(len(walk), most)] {
		names = append(names, b.Tasks[i].Ref)
	}
	if len(walk) > most {
		names = append(names, fmt.Sprintf("… (%d more)", len(walk)-most))
	}
	names = append(names, b.Tasks[walk[0]].Ref)
	return Invalid(fmt.Sprintf("tasks[%d].after", walk[0]), fmt.Sprintf("These tasks follow each other in a circle: %s.", strings.Join(names, " → ")), "Take one of these dependencies out.")
}

// CheckAfter refuses dependencies that no task could have: too many, of no task,
// of one task twice, or with an unknown policy. Only a batch has refs. field
// stands before the names of fields in errors.
func CheckAfter(field string, after []Dependency, batch bool) error {
	if len(after) > MaxAfter {
		return Invalid(field+"after", fmt.Sprintf("The task follows more than %d others.", MaxAfter), "Put a task between that follows them.")
	}
	seen := make(map[Dependency]bool, len(after))
	for i, d := range after {
		at := fmt.Sprintf("%safter[%d]", field, i)
		on := Dependency{TaskID: d.TaskID, Ref: d.Ref}
		switch {
		case d.Ref != "" && !batch:
			return Invalid(at+".ref", "A ref names a task of the same batch, and this is none.", "Name the task by its task_id.")
		case d.TaskID.IsZero() == (d.Ref == ""):
			return Invalid(at+".task_id", "A dependency names exactly one task.", "Give task_id, or in a batch ref.")
		case d.OnFailure != "" && d.OnFailure != OnFailureCancel && d.OnFailure != OnFailureContinue:
			return Invalid(at+".on_failure", fmt.Sprintf("%q is not what can be done when a task fails.", d.OnFailure), "Say cancel or continue.")
		case seen[on]:
			return Invalid(at, "This task is named twice.", "Name each task once.")
		}
		seen[on] = true
	}
	return nil
}
