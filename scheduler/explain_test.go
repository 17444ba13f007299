package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/scheduler"
)

func TestEveryCauseOfWaitingIsToldApart(t *testing.T) {
	t.Parallel()
	agent, repository := corp.AgentID{7}, corp.RepositoryID{8}
	s := scheduler.New()
	share := atMost(3)
	share.Agents, share.Repositories = map[corp.AgentID]int{agent: 1}, map[corp.RepositoryID]int{repository: 1}
	s.SetShares(map[corp.WorkspaceID]scheduler.Share{workspaceID(1): share, workspaceID(2): atMost(0)})
	by := func(it *scheduler.Item) { it.Agent = agent }
	on := func(it *scheduler.Item) { it.Repository = repository }
	for _, it := range []scheduler.Item{item(1, 1), item(2, 1, by), item(3, 1, on), item(4, 1, labels("gpu")), item(5, 1, notBefore(at(500)))} {
		s.Add(it)
	}
	s.Start(held(item(10, 1, by), at(0)))
	s.Start(held(item(11, 1, on), at(0)))
	busy := []scheduler.Runner{{Runtimes: []string{"builtin"}, Slots: 2}}
	free := []scheduler.Runner{{Runtimes: []string{"builtin"}, Slots: 2, Free: 1}}
	for _, c := range []struct {
		what    string
		run     int
		runners []scheduler.Runner
		want    scheduler.Explanation
	}{
		{"nothing", 99, free, scheduler.Explanation{Cause: corp.WaitNothing, Known: true}},
		{"its turn", 1, free, scheduler.Explanation{Cause: corp.WaitTurn, Position: 1, Known: true, About: 30 * time.Second}},
		{"busy runners", 1, busy, scheduler.Explanation{Cause: corp.WaitRunnersBusy, Position: 1, Known: true, About: 30 * time.Second}},
		{"no runner", 4, free, scheduler.Explanation{Cause: corp.WaitNoRunner, Position: 4}},
		{"its agent", 2, free, scheduler.Explanation{Cause: corp.WaitAgentLimit, Position: 2, Limit: 1, InUse: 1, Known: true, About: 60 * time.Second}},
		{"its repository", 3, free, scheduler.Explanation{Cause: corp.WaitRepositoryLimit, Position: 3, Limit: 1, InUse: 1, Known: true, About: 90 * time.Second}},
		{"its time", 5, free, scheduler.Explanation{Cause: corp.WaitTime, Until: at(500), Known: true, About: 400 * time.Second}},
	} {
		got := s.Explain(runID(c.run), c.runners, at(100))
		if c.what == "its turn" || c.what == "busy runners" {
			got.About, c.want.About = 0, 0 // a share of two slots, both taken: see the next test
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", c.what, diff)
		}
	}
	s.Start(held(item(12, 1), at(0)))
	if x := s.Explain(runID(1), free, at(100)); x.Cause != corp.WaitWorkspaceLimit || x.Limit != 3 || x.InUse != 3 {
		t.Errorf("at the workspace's limit: %+v", x)
	}
}

func TestTheGuessFollowsTheShareOfTheSlots(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(map[corp.WorkspaceID]scheduler.Share{
		workspaceID(1): {Class: "pro", ClassWeight: 1, Weight: 1}, workspaceID(2): {Class: "pro", ClassWeight: 1, Weight: 3},
		workspaceID(3): {Class: "free", ClassWeight: 1, Weight: 1}, workspaceID(4): {Class: "free", ClassWeight: 1, Weight: 1}, // which wants nothing
	})
	for n := range 40 {
		s.Add(item(n, 1+n%3)) // 0, 3, 6, ... are workspace 1's
	}
	runners := []scheduler.Runner{{Runtimes: []string{"builtin"}, Slots: 16, Free: 16}}
	// Half of 16 slots are the class's, a quarter of those its own: 2 at a time, 30 s each.
	for position, want := range map[int]time.Duration{1: 0, 2: 0, 3: 15 * time.Second, 6: 60 * time.Second} {
		x := s.Explain(runID(3*(position-1)), runners, at(100))
		if x.Position != position || x.About != want || !x.Known {
			t.Errorf("position %d: %+v, want %v", position, x, want)
		}
	}
}
