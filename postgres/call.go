package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/pgerr"
)

const callColumns = `id, at, task_id, run_id, agent_id, epoch, provider_id, provider, dialect, model_asked, model_served, price_id,
	fresh_input, cache_read, cache_write_short, cache_write_long, output, reserved_nanodollars, cost_nanodollars, outcome, status,
	stop_reason, detail, streamed, estimated, simulated, edits, raw_usage, upstream_request_id, trace_id, latency_ms, first_byte_ms`

func scanCall(row pgx.CollectableRow) (c corp.Call, err error) {
	u := &c.Usage
	err = row.Scan(&c.ID, &c.At, &c.TaskID, &c.RunID, &c.AgentID, &c.Epoch, &c.ProviderID, &c.Provider, &c.Dialect, &c.ModelAsked, &c.ModelServed, &c.PriceID,
		&u.FreshInput, &u.CacheRead, &u.CacheWriteShort, &u.CacheWriteLong, &u.Output, &c.Reserved, &c.Cost, &c.Outcome, &c.Status,
		&c.StopReason, &c.Detail, &c.Streamed, &c.Estimated, &c.Simulated, &c.Edits, &c.RawUsage, &c.UpstreamRequestID, &c.TraceID, &c.LatencyMS, &c.FirstByteMS)
	return c, err
}

// Calls lists model calls, newest first.
func (w WorkspaceDB) Calls(ctx context.Context, f CallFilter, p corp.Page) (corp.List[corp.Call], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Call]{}, err
	}
	where, args := `WHERE workspace_id = $1 AND (at, id) < ($2, $3)`, []any{from.At, from.ID, limit + 1}
	switch {
	case !f.Run.IsZero() && !f.Task.IsZero():
		where, args = where+` AND run_id = $5 AND task_id = $6`, append(args, f.Run, f.Task)
	case !f.Run.IsZero():
		where, args = where+` AND run_id = $5`, append(args, f.Run)
	case !f.Task.IsZero():
		where, args = where+` AND task_id = $5`, append(args, f.Task)
	}
	found, err := door.Query(ctx, w.door, scanCall, `SELECT `+callColumns+` FROM calls `+where+` ORDER BY at DESC, id DESC LIMIT $4`, args...)
	return door.Page(found, limit, func(c corp.Call) door.Position { return door.At(c.At, c.ID) }), err
}

// RecordCalls writes calls into the ledger and takes their cost out of the
// allowances that paid for them, all or nothing. A call that is there already, by
// id and time, is passed over. What an allowance does not cover counts as spent
// all the same; but what was written off when the server that made the call was
// taken for dead covers it first, so that nothing is counted twice.
func (w WorkspaceDB) RecordCalls(ctx context.Context, calls []CallRecord) error {
	if len(calls) == 0 {
		return nil
	}
	err := w.recordCalls(ctx, calls)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || !pgerr.MissingPartition(pg) {
		return err
	}
	// A journal may bring calls from before the oldest partition.
	for _, c := range calls {
		if _, err := w.door.DB.System("missing partition").EnsurePartitions(ctx, c.At, 0); err != nil {
			return err
		}
	}
	return w.recordCalls(ctx, calls)
}

func (w WorkspaceDB) recordCalls(ctx context.Context, calls []CallRecord) error {
	late := false
	err := w.door.In(ctx, func(tx pgx.Tx) error {
		_, err := w.record(ctx, tx, calls)
		late = errors.Is(err, errClosed)
		return err
	})
	if !late {
		return err
	}
	return w.door.In(ctx, func(tx pgx.Tx) error {
		rest, err := w.coverLate(ctx, tx, calls)
		if err != nil {
			return err
		}
		_, err = w.record(ctx, tx, rest)
		return err
	})
}

// record writes calls in a transaction and returns how many were new.
func (w WorkspaceDB) record(ctx context.Context, tx pgx.Tx, calls []CallRecord) (fresh int, err error) {
	calls = slices.SortedFunc(slices.Values(calls), func(a, b CallRecord) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	if calls, err = w.insertCalls(ctx, tx, calls); err != nil || len(calls) == 0 {
		return 0, err
	}
	runs, err := w.sumRuns(ctx, tx, calls)
	if err != nil {
		return 0, err
	}
	l, err := w.lockLedger(ctx, tx, calls)
	if err != nil {
		return 0, err
	}
	for _, c := range calls {
		l.pay(c)
	}
	var b door.Batch
	l.queue(&b, w.door.ID)
	door.QueueEvents(&b, w.door.ID, runs...)
	return len(calls), door.Send(ctx, tx, &b)
}

// insertCalls returns the calls that were not there yet.
func (w WorkspaceDB) insertCalls(ctx context.Context, tx pgx.Tx, calls []CallRecord) ([]CallRecord, error) {
	const most = 1000 // bytes of a name or a sentence
	var b door.Batch
	fresh := make([]CallRecord, 0, len(calls))
	for _, c := range calls {
		var raw *string
		if len(c.RawUsage) > 0 && json.Valid(c.RawUsage) {
			raw = new(storable(string(c.RawUsage), len(c.RawUsage)*3))
		}
		edits := make([]string, len(c.Edits))
		for i, e := range c.Edits {
			edits[i] = storable(e, most)
		}
		u := c.Usage
		b.Queue(`
			INSERT INTO calls (workspace_id, `+callColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29::text::json, $30, $31, $32, $33)
			ON CONFLICT DO NOTHING`,
			w.door.ID, c.ID, c.At, c.TaskID, c.RunID, c.AgentID, c.Epoch, c.ProviderID, storable(c.Provider, most), storable(c.Dialect, most),
			storable(c.ModelAsked, most), storable(c.ModelServed, most), c.PriceID,
			u.FreshInput, u.CacheRead, u.CacheWriteShort, u.CacheWriteLong, u.Output, c.Reserved, c.Cost, c.Outcome, c.Status,
			storable(c.StopReason, most), storable(c.Detail, 4*most), c.Streamed, c.Estimated, c.Simulated, edits, raw,
			storable(c.UpstreamRequestID, most), storable(c.TraceID, most), c.LatencyMS, c.FirstByteMS,
		).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 1 {
				fresh = append(fresh, c)
			}
			return nil
		})
	}
	return fresh, door.Send(ctx, tx, &b)
}

// sums are a run's totals, as an event carries them.
type sums struct {
	Calls     int64            `json:"calls"`
	Usage     corp.Usage       `json:"usage"`
	Cost      corp.Nanodollars `json:"cost_nanodollars"`
	Simulated bool             `json:"simulated"`
}

// sumRuns adds calls to their runs' totals and returns one event for each run.
func (w WorkspaceDB) sumRuns(ctx context.Context, tx pgx.Tx, calls []CallRecord) ([]door.Event, error) {
	added := map[corp.RunID]*sums{}
	for _, c := range calls {
		s := added[c.RunID]
		if s == nil {
			s = &sums{}
			added[c.RunID] = s
		}
		s.Calls, s.Usage, s.Cost, s.Simulated = s.Calls+1, s.Usage.Add(c.Usage), corp.AddMoney(s.Cost, c.Cost), s.Simulated || c.Simulated
	}
	var b door.Batch
	var events []door.Event
	for _, run := range slices.SortedFunc(maps.Keys(added), func(a, b corp.RunID) int { return bytes.Compare(a[:], b[:]) }) {
		s := added[run]
		u := s.Usage
		b.Queue(`
			UPDATE runs SET calls = calls + $3, fresh_input = fresh_input + $4, cache_read = cache_read + $5, cache_write_short = cache_write_short + $6,
				cache_write_long = cache_write_long + $7, output = output + $8, cost_nanodollars = cost_nanodollars + $9, simulated = simulated OR $10
			WHERE workspace_id = $1 AND id = $2
			RETURNING task_id, calls, fresh_input, cache_read, cache_write_short, cache_write_long, output, cost_nanodollars, simulated`,
			w.door.ID, run, s.Calls, u.FreshInput, u.CacheRead, u.CacheWriteShort, u.CacheWriteLong, u.Output, s.Cost, s.Simulated,
		).QueryRow(func(row pgx.Row) error {
			e := door.Event{Kind: "call.finished", Run: run}
			var t sums
			u := &t.Usage
			err := row.Scan(&e.Task, &t.Calls, &u.FreshInput, &u.CacheRead, &u.CacheWriteShort, &u.CacheWriteLong, &u.Output, &t.Cost, &t.Simulated)
			e.Data = t
			events = append(events, e)
			return noRun(err)
		})
	}
	return events, door.Send(ctx, tx, &b)
}

// ledger is the budgets and allowances that a batch of calls touches, locked.
type ledger struct {
	workspace corp.BudgetID
	tasks     map[corp.TaskID]corp.BudgetID
	open      map[corp.AllowanceID]*corp.Allowance
	spent     map[corp.BudgetID]corp.Nanodollars
	covered   map[corp.BudgetID]corp.Nanodollars
	reported  map[corp.AllowanceID]corp.Nanodollars
}

func (w WorkspaceDB) lockLedger(ctx context.Context, tx pgx.Tx, calls []CallRecord) (*ledger, error) {
	l := &ledger{
		tasks: map[corp.TaskID]corp.BudgetID{}, open: map[corp.AllowanceID]*corp.Allowance{},
		spent: map[corp.BudgetID]corp.Nanodollars{}, covered: map[corp.BudgetID]corp.Nanodollars{}, reported: map[corp.AllowanceID]corp.Nanodollars{},
	}
	var tasks []corp.TaskID
	var allowances []corp.AllowanceID
	for _, c := range calls {
		if c.Cost == 0 {
			continue
		}
		tasks = append(tasks, c.TaskID)
		for _, charge := range c.Charges {
			allowances = append(allowances, charge.AllowanceID)
		}
	}
	if len(tasks) == 0 {
		return l, nil
	}
	budgets, err := w.lockBudgets(ctx, tx, tasks...)
	if err != nil {
		return nil, err
	}
	for _, b := range budgets {
		if b.TaskID.IsZero() {
			l.workspace = b.ID
		} else {
			l.tasks[b.TaskID] = b.ID
		}
	}
	found, err := door.Collect(ctx, tx, scanHeld, selectHeld+`
		WHERE a.workspace_id = $1 AND a.id = ANY($2) ORDER BY a.id FOR NO KEY UPDATE OF a`, w.door.ID, allowances)
	for i := range found {
		if found[i].Closed {
			return nil, errClosed
		}
		l.open[found[i].ID] = &found[i].Allowance
	}
	return l, err
}

// pay takes a call's cost out of the task's and the workspace's budget, and as
// much of it as they cover out of the allowances.
func (l *ledger) pay(c CallRecord) {
	if c.Cost == 0 {
		return
	}
	budgets := []corp.BudgetID{l.tasks[c.TaskID], l.workspace}
	for _, b := range budgets {
		l.spent[b] += c.Cost
	}
	for _, charge := range c.Charges {
		a := l.open[charge.AllowanceID]
		if a == nil || a.BudgetID != charge.BudgetID || !slices.Contains(budgets, a.BudgetID) {
			continue
		}
		covered := min(c.Cost, a.Granted-a.Reported)
		a.Reported += covered
		l.reported[a.ID] += covered
		l.covered[a.BudgetID] += covered
	}
}

func (l *ledger) queue(b *door.Batch, ws corp.WorkspaceID) {
	for id, spent := range l.spent {
		b.Queue(`
			UPDATE budgets SET spent_nanodollars = spent_nanodollars + $3, granted_nanodollars = granted_nanodollars - $4
			WHERE workspace_id = $1 AND id = $2`, ws, id, spent, l.covered[id])
	}
	for id, reported := range l.reported {
		b.Queue(`UPDATE allowances SET reported_nanodollars = reported_nanodollars + $3 WHERE workspace_id = $1 AND id = $2`, ws, id, reported)
	}
}

// noRun turns the absence of a row into the absence of a run.
func noRun(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return corp.NotFound("run")
	}
	return err
}
