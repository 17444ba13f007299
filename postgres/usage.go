package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// A grouping is what a call and a run are counted under. The time that runs took
// has no model: a run may use several.
type grouping struct{ call, run string }

var groupings = map[string]grouping{
	"":      {`''`, `''`},
	"day":   {`to_char(c.at AT TIME ZONE 'UTC', 'YYYY-MM-DD')`, `to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')`},
	"model": {`c.provider || '/' || coalesce(nullif(c.model_served, ''), c.model_asked)`, ``},
	"agent": {`(SELECT a.name FROM agents a WHERE a.workspace_id = $1 AND a.id = c.agent_id)`, `(SELECT a.name FROM tasks t JOIN agents a ON a.workspace_id = t.workspace_id AND a.id = t.agent_id WHERE t.workspace_id = $1 AND t.id = r.task_id)`},
	"task":  {`c.task_id::text`, `r.task_id::text`},
}

// Usage sums up model calls, and the time that runs were carried out, by day (of
// UTC), model (PROVIDER/MODEL, without the time), agent (its name) or task, or in
// one total for "". A run counts to the day on which it started. The total has
// always one row; the others are in the order of their keys.
func (w WorkspaceDB) Usage(ctx context.Context, f UsageFilter) ([]corp.UsageTotal, error) {
	by, ok := groupings[f.By]
	if !ok {
		return nil, corp.Invalid("by", "Usage cannot be grouped by "+f.By+".", "Use day, model, agent or task, or leave it out.")
	}
	sql := `
		SELECT coalesce(c.key, r.key, '') AS key, coalesce(c.calls, 0), coalesce(c.fresh_input, 0), coalesce(c.cache_read, 0), coalesce(c.cache_write_short, 0),
			coalesce(c.cache_write_long, 0), coalesce(c.output, 0), coalesce(c.cost, 0), coalesce(r.seconds, 0), coalesce(c.simulated, false)
		FROM (
			SELECT ` + by.call + ` AS key, count(*) AS calls, sum(c.fresh_input)::bigint AS fresh_input, sum(c.cache_read)::bigint AS cache_read,
				sum(c.cache_write_short)::bigint AS cache_write_short, sum(c.cache_write_long)::bigint AS cache_write_long,
				sum(c.output)::bigint AS output, sum(c.cost_nanodollars)::bigint AS cost, bool_or(c.simulated) AS simulated
			FROM calls c WHERE c.workspace_id = $1 AND c.at >= $2 AND c.at < $3 GROUP BY 1
		) c FULL JOIN (` + runSeconds(by.run) + `) r ON r.key = c.key ORDER BY 1`
	from, to := f.From, f.To
	if from.IsZero() {
		from = time.Unix(0, 0)
	}
	if to.IsZero() {
		to = door.AfterEverything.At
	}
	totals, err := door.Query(ctx, w.door, scanTotal, sql, from, to)
	if err != nil {
		return nil, err
	}
	switch {
	case f.By == "" && len(totals) == 0:
		return []corp.UsageTotal{{}}, nil
	case f.By == "task":
		for i := range totals {
			var id corp.TaskID
			if err := id.Scan(totals[i].Key); err != nil {
				return nil, err
			}
			totals[i].Key = id.String()
		}
	}
	return door.OrEmpty(totals), nil
}

func runSeconds(key string) string {
	if key == "" {
		return `SELECT NULL::text AS key, 0::float8 AS seconds WHERE false`
	}
	return `
		SELECT ` + key + ` AS key, sum(extract(epoch FROM coalesce(r.finished_at, clock_timestamp()) - r.started_at) - r.waited_ms / 1000.0)::float8 AS seconds
		FROM runs r WHERE r.workspace_id = $1 AND r.started_at >= $2 AND r.started_at < $3 GROUP BY 1`
}

func scanTotal(row pgx.CollectableRow) (t corp.UsageTotal, err error) {
	u := &t.Usage
	err = row.Scan(&t.Key, &t.Calls, &u.FreshInput, &u.CacheRead, &u.CacheWriteShort, &u.CacheWriteLong, &u.Output, &t.Cost, &t.RunSeconds, &t.Simulated)
	return t, err
}
