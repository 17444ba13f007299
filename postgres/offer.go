package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Offered is all that a runner needs to carry out a run, but for the secrets,
// which only the leader knows, and the sealed credential of its repository, nil
// when it has none.
type Offered struct {
	corp.Offer
	Credential []byte
}

// offerRow is a leased run with its task, agent and repository.
type offerRow struct {
	taskRow
	LeasedRunID    corp.RunID
	LeasedEpoch    int64
	LeasedAttempt  int
	LeasedTraceID  string
	AgentRuntime   string
	AgentModel     string
	Instructions   string
	MaxTurns       int
	MaxTokens      int
	Concurrency    int
	AgentBy        corp.Actor
	AgentAt        time.Time
	AgentArchived  *time.Time
	RepositoryName *string
	RepositoryAt   *string // its URL
	DefaultBase    *string
	Credential     []byte
	Dialect        *string
	ContextWindow  *int64
	MaxOutput      *int64
}

// A provider that is not there, or a model that has no price, is not an error
// here: the gateway says so, in the words of the call.
const selectOffers = `
	SELECT ` + taskFields + `, r.id AS leased_run_id, r.epoch AS leased_epoch, r.attempt AS leased_attempt, r.trace_id AS leased_trace_id,
		v.runtime AS agent_runtime, v.model AS agent_model, v.instructions, v.max_turns, v.max_tokens, a.concurrency,
		v.created_by AS agent_by, a.created_at AS agent_at, a.archived_at AS agent_archived,
		s.name AS repository_name, s.url AS repository_at, s.default_base, s.credential, m.dialect, m.context_window, m.max_output
	FROM unnest($2::uuid[], $3::bigint[]) AS u (id, epoch)
	CROSS JOIN LATERAL (SELECT * FROM runs r WHERE r.workspace_id = $1 AND r.id = u.id LIMIT 1) r
	CROSS JOIN LATERAL (SELECT * FROM tasks t WHERE t.workspace_id = $1 AND t.id = r.task_id LIMIT 1) t
	JOIN agents a ON a.workspace_id = $1 AND a.id = t.agent_id
	JOIN agent_versions v ON v.workspace_id = $1 AND v.agent_id = t.agent_id AND v.version = t.agent_version
	CROSS JOIN LATERAL (SELECT * FROM budgets b WHERE b.workspace_id = $1 AND b.task_id = t.id LIMIT 1) b
	LEFT JOIN repositories s ON s.workspace_id = $1 AND s.id = t.repository_id
	LEFT JOIN LATERAL (
		SELECT p.dialect, coalesce(x.context_window, 0) AS context_window, coalesce(x.max_output, 0) AS max_output
		FROM (
			SELECT dialect, vendor, false AS installation FROM providers WHERE workspace_id = $1 AND name = split_part(v.model, '/', 1) AND archived_at IS NULL
			UNION ALL
			SELECT dialect, vendor, true FROM installation_providers WHERE name = split_part(v.model, '/', 1) AND archived_at IS NULL
			ORDER BY installation LIMIT 1
		) p LEFT JOIN LATERAL (
			SELECT context_window, max_output FROM prices
			WHERE vendor = coalesce(nullif(p.vendor, ''), p.dialect) AND model = substr(v.model, strpos(v.model, '/') + 1)
			ORDER BY effective_from <= now() DESC, CASE WHEN effective_from <= now() THEN effective_from END DESC, effective_from LIMIT 1
		) x ON true
	) m ON strpos(v.model, '/') > 0
	WHERE r.epoch = u.epoch AND ` + inHand

// Offers returns what runners need of runs that were claimed under these epochs,
// in one round trip, each read inside its own workspace. What is not leased under
// its epoch any more is left out.
func (s SystemDB) Offers(ctx context.Context, runs []RunRef) (map[corp.RunID]Offered, error) {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b RunRef) int { return bytes.Compare(a.Workspace[:], b.Workspace[:]) })
	found := make(map[corp.RunID]Offered, len(runs))
	err := s.door.InTurn(ctx, func(b *door.Turns) {
		for rest := runs; len(rest) > 0; {
			var ids []corp.RunID
			var epochs []int64
			ws := rest[0].Workspace
			for ; len(rest) > 0 && rest[0].Workspace == ws; rest = rest[1:] {
				ids, epochs = append(ids, rest[0].RunID), append(epochs, rest[0].Epoch)
			}
			b.Enter(ws)
			b.Queue(selectOffers, ws, ids, epochs).Query(func(rows pgx.Rows) error { return readOffers(rows, found) })
		}
	})
	return found, err
}

func readOffers(rows pgx.Rows, into map[corp.RunID]Offered) error {
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[offerRow])
	if err != nil {
		return fmt.Errorf("read offers: %w", err)
	}
	for _, r := range all {
		task, err := r.task()
		if err != nil {
			return err
		}
		into[r.LeasedRunID] = r.offer(task)
	}
	return nil
}

func (r offerRow) offer(task corp.Task) Offered {
	o := Offered{Credential: r.Credential, Offer: corp.Offer{
		Lease: corp.Lease{RunID: r.LeasedRunID, Epoch: r.LeasedEpoch}, TaskID: task.ID, Attempt: r.LeasedAttempt, TraceID: r.LeasedTraceID, Spec: task.TaskSpec,
		Agent: corp.Agent{
			ID: task.AgentID, Version: task.AgentVersion, Concurrency: r.Concurrency, CreatedBy: r.AgentBy, CreatedAt: r.AgentAt, ArchivedAt: r.AgentArchived,
			AgentSpec: corp.AgentSpec{Name: task.Agent, Runtime: r.AgentRuntime, Model: r.AgentModel, Instructions: r.Instructions, MaxTurns: r.MaxTurns, MaxTokens: r.MaxTokens},
		},
		Repository: corp.RepositorySpec{URL: task.RepositoryURL},
		TimeoutMS:  (time.Duration(task.TimeoutSeconds) * time.Second).Milliseconds(),
	}}
	if r.RepositoryName != nil {
		o.Repository = corp.RepositorySpec{Name: *r.RepositoryName, URL: *r.RepositoryAt, DefaultBase: *r.DefaultBase}
	}
	if r.Dialect != nil {
		o.Model = corp.ModelFacts{Dialect: *r.Dialect, ContextWindow: *r.ContextWindow, MaxOutput: *r.MaxOutput}
	}
	return o
}
