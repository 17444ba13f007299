package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// named is what the tasks of a submission name, as far as it is there.
type named struct {
	agents       map[string]corp.Agent // by what they were asked for: name or id
	repositories map[corp.RepositoryID]bool
	sources      map[corp.BlobID]bool
	tasks        map[corp.TaskID]namedTask
	quota        quota
	now          time.Time // by the database\'s clock
}

// namedTask is a task that another one follows or is a part of.
type namedTask struct {
	State    corp.TaskState
	Stopping bool // somebody asked to cancel it
	Depth    int  // of its place in its tree, 1 for a root; only for parents
}

// lookUp finds what a submission names, in one round trip, and locks the tasks
// among it: nobody can end or cancel them before the submission is committed, so
// nobody misses those that follow them.
func (w WorkspaceDB) lookUp(ctx context.Context, tx pgx.Tx, s *submission) (*named, error) {
	n := &named{agents: map[string]corp.Agent{}, repositories: map[corp.RepositoryID]bool{}, sources: map[corp.BlobID]bool{}, tasks: map[corp.TaskID]namedTask{}}
	parents, timed := map[corp.TaskID]bool{}, false
	for _, t := range s.tasks {
		n.agents[t.Agent] = corp.Agent{}
		timed = timed || hasTimes(t.TaskSpec)
		if t.RepositoryID != nil {
			n.repositories[*t.RepositoryID] = false
		}
		if t.SourceID != nil {
			n.sources[*t.SourceID] = false
		}
		if t.ParentID != nil {
			parents[*t.ParentID], n.tasks[*t.ParentID] = true, namedTask{}
		}
		for _, f := range t.follow {
			if f.inside < 0 {
				n.tasks[f.on] = namedTask{}
			}
		}
	}
	var b door.Batch
	n.queueAgents(&b, w.door.ID)
	queueFind(&b, n.repositories, `SELECT id FROM repositories WHERE workspace_id = $1 AND id = ANY($2) AND archived_at IS NULL`, w.door.ID)
	queueFind(&b, n.sources, `SELECT id FROM blobs WHERE workspace_id = $1 AND id = ANY($2) AND kind = 'source' AND expired_at IS NULL`, w.door.ID)
	n.queueTasks(&b, w.door.ID, keys(parents))
	if timed {
		b.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(&n.now) })
	}
	if !s.trial {
		n.quota.queueCount(&b, w.door.ID, lockTasks, countTasks)
	}
	err := door.Send(ctx, tx, &b)
	return n, err
}

func (n *named) queueAgents(b *door.Batch, ws corp.WorkspaceID) {
	asked := keys(n.agents)
	ids := make([]corp.AgentID, len(asked)) // of a name: the zero id, which is nobody's
	for i, nameOrID := range asked {
		ids[i], _ = corp.ParseID[corp.AgentID](nameOrID)
	}
	b.Queue(selectAgents+`
		WHERE a.workspace_id = $1 AND v.version = a.version AND a.archived_at IS NULL AND (a.id = ANY($2) OR a.name = ANY($3))`, ws, ids, asked).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, scanAgent)
		for _, agent := range found {
			for _, key := range []string{agent.Name, agent.ID.String()} {
				if _, wanted := n.agents[key]; wanted {
					n.agents[key] = agent
				}
			}
		}
		return err
	})
}

// queueFind marks those of the ids that a query finds.
func queueFind[I corp.AnyID](b *door.Batch, wanted map[I]bool, sql string, ws corp.WorkspaceID) {
	if len(wanted) == 0 {
		return
	}
	b.Queue(sql, ws, keys(wanted)).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowTo[I])
		for _, id := range found {
			wanted[id] = true
		}
		return err
	})
}

func (n *named) queueTasks(b *door.Batch, ws corp.WorkspaceID, parents []corp.TaskID) {
	if len(n.tasks) == 0 {
		return
	}
	type row struct {
		ID       corp.TaskID
		State    corp.TaskState
		Stopping bool
	}
	b.Queue(`
		SELECT id, state, cancel_requested_at IS NOT NULL AS stopping FROM tasks
		WHERE workspace_id = $1 AND id = ANY($2) ORDER BY id FOR SHARE`, ws, keys(n.tasks)).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
		for _, t := range found {
			n.tasks[t.ID] = namedTask{t.State, t.Stopping, 0}
		}
		return err
	})
	if len(parents) == 0 {
		return
	}
	type place struct {
		Leaf  corp.TaskID
		Depth int
	}
	b.Queue(`
		WITH RECURSIVE up (leaf, parent_id, depth) AS (
			SELECT id, parent_id, 1 FROM tasks WHERE workspace_id = $1 AND id = ANY($2)
			UNION ALL
			SELECT up.leaf, t.parent_id, up.depth + 1 FROM up JOIN tasks t ON t.workspace_id = $1 AND t.id = up.parent_id WHERE up.depth < $3
		)
		SELECT leaf, max(depth) AS depth FROM up GROUP BY leaf`, ws, parents, corp.MaxDepth).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[place])
		for _, p := range found {
			t := n.tasks[p.Leaf]
			t.Depth = p.Depth
			n.tasks[p.Leaf] = t
		}
		return err
	})
}

// check refuses a task that names what is not there, or a parent that can have
// no more parts, and gives it its agent.
func (n *named) check(t *submitted) error {
	t.agent = n.agents[t.Agent]
	switch {
	case t.agent.ID.IsZero():
		return noAgent(t)
	case t.RepositoryID != nil && !n.repositories[*t.RepositoryID]:
		return missing("repository", t.field+"repository_id")
	case t.SourceID != nil && !n.sources[*t.SourceID]:
		return missing("file", t.field+"source_id")
	}
	if err := settleTimes(&t.TaskSpec, t.field, n.now); err != nil {
		return err
	}
	if t.ParentID != nil {
		if err := n.checkParent(n.tasks[*t.ParentID], t.field+"parent_id"); err != nil {
			return err
		}
	}
	for i, f := range t.follow {
		if f.inside < 0 && n.tasks[f.on].State == "" {
			return missing("task", fmt.Sprintf("%safter[%d].task_id", t.field, i))
		}
	}
	return nil
}

func (n *named) checkParent(p namedTask, field string) error {
	var err *corp.Error
	switch {
	case p.State == "":
		return missing("task", field)
	case p.State.Final():
		err = corp.Conflict("The parent task is "+string(p.State)+": it can have no more parts.", "Leave parent_id out, or name a task that has not ended.")
	case p.Stopping:
		err = corp.Conflict("The parent task is being cancelled: it can have no more parts.", "Leave parent_id out, or name a task that has not ended.")
	case p.Depth >= corp.MaxDepth:
		err = corp.Conflict(fmt.Sprintf("The parent task is %d levels deep: it can have no parts.", corp.MaxDepth), "Give the part to a task that is higher up.")
	default:
		return nil
	}
	err.Field = field
	return err
}

func noAgent(t *submitted) error {
	missing := corp.NotFound("agent")
	missing.Field = t.field + "agent"
	if t.Agent == defaultAgent {
		missing.Hint = "This workspace has no agent named default: create one, or name another."
	}
	return missing
}

func missing(noun, field string) error {
	e := corp.NotFound(noun)
	e.Field = field
	return e
}

// keys returns the keys of a map in no particular order.
func keys[K comparable, V any](m map[K]V) []K {
	list := make([]K, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	return list
}
