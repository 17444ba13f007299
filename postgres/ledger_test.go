package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// gatewayModel is a server that keeps the rules of a gateway: nothing is spent
// that is not held of every limit that applies.
type gatewayModel struct {
	id         corp.ServerID
	rest       map[corp.TaskID]corp.Nanodollars // the zero task is the workspace's
	charges    map[corp.TaskID]postgres.Charge
	unrecorded []postgres.CallRecord
}

// Any sequence of grants, calls, repeated reports, returns, crashes and closings
// keeps every limit and every sum.
func TestNoSequenceOfEventsPassesALimitOrLosesACent(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newMoneyModel(t, rand.New(rand.NewPCG(seed, 7)))
			for range 150 {
				m.step(t)
			}
			balanced(t, m.env, m.ws)
		})
	}
}

type moneyModel struct {
	env     *pgtest.Env
	ws      corp.WorkspaceID
	db      postgres.WorkspaceDB
	random  *rand.Rand
	tasks   []corp.Task
	limited map[corp.TaskID]bool
	servers []*gatewayModel
}

func newMoneyModel(t *testing.T, random *rand.Rand) *moneyModel {
	t.Helper()
	env, ws, db := door(t)
	limitWorkspace(t, db, 5000)
	m := &moneyModel{env: env, ws: ws, db: db, random: random, limited: map[corp.TaskID]bool{{}: true}}
	for i := range 4 {
		spec := corp.TaskSpec{}
		if i < 3 {
			spec.Budget = new(corp.Nanodollars(500 + 500*i))
		}
		task := env.Submit(t, ws, spec)
		env.Running(t, ws, task.RunID)
		m.tasks, m.limited[task.ID] = append(m.tasks, task), i < 3
	}
	for range 3 {
		m.servers = append(m.servers, newGatewayModel())
	}
	return m
}

func newGatewayModel() *gatewayModel {
	return &gatewayModel{id: corp.NewID[corp.ServerID](), rest: map[corp.TaskID]corp.Nanodollars{}, charges: map[corp.TaskID]postgres.Charge{}}
}

func (m *moneyModel) step(t *testing.T) {
	t.Helper()
	at := m.random.IntN(len(m.servers))
	g, task := m.servers[at], m.tasks[m.random.IntN(len(m.tasks))]
	switch m.random.IntN(12) {
	case 0, 1, 2:
		m.grant(t, g, task)
	case 3, 4, 5, 6:
		m.call(g, task)
	case 7, 8:
		m.report(t, g)
	case 9:
		m.giveBack(t, g, task.ID)
	case 10:
		m.crash(t, g)
		m.servers[at] = newGatewayModel()
	default:
		balanced(t, m.env, m.ws)
	}
}

func (m *moneyModel) grant(t *testing.T, g *gatewayModel, task corp.Task) {
	t.Helper()
	least := corp.Nanodollars(m.random.IntN(60))
	grants, err := m.db.GrantAllowance(t.Context(), g.id, task.ID, least, least+corp.Nanodollars(m.random.IntN(200)))
	if err != nil {
		wantKind(t, err, corp.KindLimit)
		return
	}
	for _, added := range grants {
		g.rest[added.TaskID] += added.Added
		g.charges[added.TaskID] = postgres.Charge{AllowanceID: added.AllowanceID, BudgetID: added.BudgetID}
	}
}

func (m *moneyModel) call(g *gatewayModel, task corp.Task) {
	cost := corp.Nanodollars(m.random.IntN(40))
	record := postgres.CallRecord{Call: aCall(task, 1, cost)}
	for _, id := range []corp.TaskID{task.ID, {}} {
		if !m.limited[id] {
			continue
		}
		if g.rest[id] < cost {
			return
		}
		record.Charges = append(record.Charges, g.charges[id])
	}
	for _, id := range []corp.TaskID{task.ID, {}} {
		if m.limited[id] {
			g.rest[id] -= cost
		}
	}
	g.unrecorded = append(g.unrecorded, record)
}

func (m *moneyModel) report(t *testing.T, g *gatewayModel) {
	t.Helper()
	ok(t, m.db.RecordCalls(t.Context(), g.unrecorded))
	if m.random.IntN(3) == 0 { // the answer was lost
		ok(t, m.db.RecordCalls(t.Context(), g.unrecorded))
	}
	g.unrecorded = nil
}

func (m *moneyModel) giveBack(t *testing.T, g *gatewayModel, task corp.TaskID) {
	t.Helper()
	if charge, held := g.charges[task]; held && g.rest[task] > 0 {
		amount := corp.Nanodollars(m.random.Int64N(int64(g.rest[task]) + 1))
		ok(t, m.db.ReturnAllowance(t.Context(), charge.AllowanceID, amount))
		g.rest[task] -= amount
	}
}

// crash ends a server. Either its journal tells what it spent, and the rest is
// given back, or all that it held counts as spent.
func (m *moneyModel) crash(t *testing.T, g *gatewayModel) {
	t.Helper()
	journal := m.random.IntN(2) == 0
	if journal {
		m.report(t, g)
	}
	held := must(m.db.OpenAllowances(t.Context(), g.id))(t)
	m.random.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	lost := map[corp.TaskID]corp.Nanodollars{}
	for _, c := range g.unrecorded {
		lost[c.TaskID] += c.Cost
	}
	before := map[corp.TaskID]corp.Nanodollars{}
	for _, task := range m.tasks {
		before[task.ID] = must(m.db.Task(t.Context(), task.ID))(t).Spent
	}
	for _, a := range held {
		if journal {
			ok(t, m.db.CloseAllowance(t.Context(), a.ID, nil))
		} else {
			ok(t, m.db.CloseAllowance(t.Context(), a.ID, &corp.Call{}))
		}
	}
	balanced(t, m.env, m.ws)
	if journal {
		return
	}
	var estimated, really corp.Nanodollars
	for _, task := range m.tasks {
		estimated += must(m.db.Task(t.Context(), task.ID))(t).Spent - before[task.ID]
		really += lost[task.ID]
	}
	if estimated < really {
		t.Fatalf("%s were spent and not reported, only %s were estimated", really, estimated)
	}
	m.speakAfterAll(t, g)
}

// speakAfterAll has a server that was settled by estimate tell what it spent.
func (m *moneyModel) speakAfterAll(t *testing.T, g *gatewayModel) {
	t.Helper()
	before := must(m.db.Workspace(t.Context()))(t).Spent
	half := len(g.unrecorded) / 2
	for _, batch := range [][]postgres.CallRecord{g.unrecorded[half:], g.unrecorded[half:], g.unrecorded[:half]} {
		ok(t, m.db.RecordCalls(t.Context(), batch))
	}
	balanced(t, m.env, m.ws)
	if after := must(m.db.Workspace(t.Context()))(t).Spent; after != before {
		t.Fatalf("%s were spent, and %s once the server that was settled by estimate had told: counted twice", before, after)
	}
	g.unrecorded = nil
}
