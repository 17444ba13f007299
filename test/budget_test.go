package test

import (
	"encoding/json"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// spender asks for one more command for ever: each turn bills 3,000 output
// tokens ($0.045), so that twenty-odd turns would cost a dollar.
const spender = `
name: spender
when: {prompt: Spend}
pace: {chunk: 4000}
rules:
  - name: rule-1
    match: {turn: 0..30}
    reply:
      text_bytes: 12000
      tool_calls:
        - {name: run, input: {command: "echo turn {{.Turn}}"}}
      usage: {output: 3000}
  - name: rule-2
    reply: {text: enough}
`

// L4, M3: a task's budget is a ceiling, not a hint.
func TestRunStopsAtItsBudgetAndSaysSo(t *testing.T) {
	t.Parallel()
	s := start(t)
	v := newVendor(t, spender)
	s.with(v)
	repo := s.repository(map[string]string{"a.txt": "a\n"})
	o, r := s.run("--repo", repo, "--budget", "0.10", "Spend what you can.")
	if r.code != 5 || o.Reason != corp.ReasonBudget || o.Detail == "" {
		t.Fatalf("exit %d, state %s, reason %s, detail %q\n%s", r.code, o.State, o.Reason, o.Detail, r.err)
	}
	billed, _ := v.cost(t)
	if o.Cost > 100_000_000 || o.Cost == 0 || o.Cost != billed {
		t.Errorf("the run cost %v, the vendor billed %v, the budget was $0.10", o.Cost, billed)
	}
	calls, err := s.Calls(t.Context(), client.CallQuery{Task: o.TaskID}, corp.Page{Limit: corp.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	var sum corp.Nanodollars
	for _, c := range calls.Items {
		sum += c.Cost
	}
	if sum != o.Cost {
		t.Errorf("the calls add up to %v, the run says %v", sum, o.Cost)
	}
}

// One purse for twenty runs: not a nanodollar over, also when the server is
// killed in the middle of it.
func TestTwentyRunsNeverPassTheWorkspacesBudget(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("server killed %v", kill), func(t *testing.T) {
			t.Parallel()
			s := start(t, append(quick, "--slots", "20")...)
			v := newVendor(t, spender)
			s.with(v)
			s.must("workspace", "set", "--budget", "0.50")
			repo := s.repository(map[string]string{"a.txt": "a\n"})
			ids := make([]corp.TaskID, 20)
			var wg sync.WaitGroup
			for i := range ids {
				wg.Go(func() {
					ids[i] = taskID(t, s.must("run", "--detach", "--attempts", "2", "--repo", repo, "Spend what you can."))
				})
			}
			wg.Wait()
			if kill {
				wait(t, "some money to be spent", func() bool { billed, _ := v.cost(t); return billed > 100_000_000 })
				s.kill(syscall.SIGKILL)
				s.up()
			}
			for _, id := range ids {
				if task := s.awaitTask(id); task.State == corp.TaskSucceeded {
					t.Errorf("task %s succeeded: the budget stopped nothing", id)
				}
			}
			s.checkPurse(v, 500_000_000, kill)
		})
	}
}

// checkPurse holds the workspace, its calls and the vendor's books together.
func (s *server) checkPurse(v *vendor, limit corp.Nanodollars, killed bool) {
	s.t.Helper()
	var ws corp.Workspace
	if err := json.Unmarshal([]byte(s.must("workspace", "show", "-o", "json")), &ws); err != nil {
		s.t.Fatal(err)
	}
	billed, _ := v.cost(s.t)
	totals, err := s.Usage(s.t.Context(), client.UsageQuery{})
	if err != nil || len(totals) != 1 {
		s.t.Fatalf("usage: %v, %v", totals, err)
	}
	s.t.Logf("limit %v, ledger %v, vendor billed %v", limit, ws.Spent, billed)
	if ws.Spent > limit || billed > limit {
		s.t.Errorf("limit %v passed: ledger %v, vendor %v", limit, ws.Spent, billed)
	}
	if totals[0].Cost != ws.Spent {
		s.t.Errorf("the calls add up to %v, the budget says %v", totals[0].Cost, ws.Spent)
	}
	if billed > ws.Spent || (!killed && billed != ws.Spent) {
		s.t.Errorf("the vendor billed %v, the ledger has %v", billed, ws.Spent)
	}
	if ws.Spent < limit/2 {
		s.t.Errorf("only %v of %v was spent: the limit stopped runs too early", ws.Spent, limit)
	}
}
