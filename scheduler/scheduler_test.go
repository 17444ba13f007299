package scheduler_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/scheduler"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// workspaceID and runID make ids that read and order as their number.
func workspaceID(n int) (id corp.WorkspaceID) {
	id[0], id[14], id[15] = 1, byte(n>>8), byte(n)
	return id
}

func runID(n int) (id corp.RunID) {
	id[0], id[12], id[13], id[14], id[15] = 1, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return id
}

func item(n, ws int, edit ...func(*scheduler.Item)) scheduler.Item {
	it := scheduler.Item{Workspace: workspaceID(ws), Run: runID(n), Runtime: "builtin", CreatedAt: at(n)}
	for _, e := range edit {
		e(&it)
	}
	return it
}

func priority(p int) func(*scheduler.Item) { return func(it *scheduler.Item) { it.Priority = p } }
func labels(l ...string) func(*scheduler.Item) {
	return func(it *scheduler.Item) { it.Labels = l }
}

func notBefore(t time.Time) func(*scheduler.Item) {
	return func(it *scheduler.Item) { it.NotBefore = t }
}

func anyone(l ...string) scheduler.Runner {
	return scheduler.Runner{Labels: l, Runtimes: []string{"builtin"}}
}

func unlimited(n int) map[corp.WorkspaceID]scheduler.Share {
	shares := map[corp.WorkspaceID]scheduler.Share{}
	for i := range n {
		shares[workspaceID(i)] = scheduler.Share{Class: "pro", ClassWeight: 1, Weight: 1}
	}
	return shares
}

func atMost(n int) scheduler.Share {
	return scheduler.Share{Class: "pro", ClassWeight: 1, Weight: 1, Concurrency: n}
}

func held(it scheduler.Item, since time.Time) scheduler.Held {
	return scheduler.Held{Workspace: it.Workspace, Run: it.Run, Agent: it.Agent, Repository: it.Repository, Since: since}
}

// drain picks and starts until nothing fits.
func drain(s *scheduler.Scheduler, r scheduler.Runner, now time.Time) (got []int) {
	for {
		it, ok := s.Pick(r, now)
		if !ok {
			return got
		}
		s.Start(held(it, now))
		got = append(got, int(it.Run[13])<<16|int(it.Run[14])<<8|int(it.Run[15]))
	}
}

func TestTheOldestGoesFirstAndPriorityStaysWithinItsWorkspace(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(unlimited(3))
	for _, it := range []scheduler.Item{item(1, 1), item(2, 2), item(3, 1, priority(9)), item(4, 2), item(5, 0, priority(9))} {
		if !s.Add(it) {
			t.Fatalf("Add(%v) = false", it.Run)
		}
	}
	// 3 goes before 1 within their workspace, and takes no turn from the others.
	if got, want := drain(s, anyone(), at(100)), []int{5, 3, 2, 1, 4}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestAWorkspaceAtItsLimitIsPassedOverAndComesBack(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(map[corp.WorkspaceID]scheduler.Share{workspaceID(1): atMost(2), workspaceID(2): atMost(0)})
	for n := range 6 {
		s.Add(item(n, 1+n/4)) // 0 to 3 belong to workspace 1, 4 and 5 to workspace 2
	}
	if got, want := drain(s, anyone(), at(100)), []int{0, 4, 1, 5}; !slices.Equal(got, want) {
		t.Fatalf("order %v, want %v", got, want)
	}
	if !s.Finish(runID(0), at(100)) || s.Finish(runID(0), at(100)) {
		t.Error("the first Finish must say true and the second false")
	}
	if got, want := drain(s, anyone(), at(100)), []int{2}; !slices.Equal(got, want) {
		t.Errorf("after one finished twice: %v, want %v", got, want)
	}
	s.SetShares(map[corp.WorkspaceID]scheduler.Share{workspaceID(1): atMost(1), workspaceID(2): atMost(0)})
	s.Finish(runID(1), at(100))
	if got := drain(s, anyone(), at(100)); got != nil {
		t.Errorf("a lowered limit was passed with %v", got)
	}
	s.SetShares(map[corp.WorkspaceID]scheduler.Share{workspaceID(1): atMost(0), workspaceID(2): atMost(0)})
	if got, want := drain(s, anyone(), at(100)), []int{3}; !slices.Equal(got, want) {
		t.Errorf("after the limit was lifted: %v, want %v", got, want)
	}
}

func TestAWorkspaceWhoseLimitIsNotKnownGetsNothing(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.Add(item(1, 1))
	if _, ok := s.Pick(anyone(), at(10)); ok {
		t.Error("a run was picked without a limit")
	}
	s.SetShares(unlimited(2))
	if _, ok := s.Pick(anyone(), at(10)); !ok {
		t.Error("nothing was picked once the limit was known")
	}
}

func TestARunGoesOnlyToARunnerThatFits(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(unlimited(3))
	s.Add(item(1, 1, labels("gpu", "arm")))
	s.Add(item(2, 1, labels("gpu")))
	s.Add(item(3, 2, func(it *scheduler.Item) { it.Runtime = "other" }))
	s.Add(item(4, 2))
	s.Add(item(5, 1))

	own := scheduler.Runner{Workspace: workspaceID(1), Runtimes: []string{"builtin"}}
	if got, want := drain(s, own, at(100)), []int{5}; !slices.Equal(got, want) {
		t.Errorf("workspace 1's own runner without labels got %v, want %v", got, want)
	}
	if got, want := drain(s, anyone("arm"), at(100)), []int{4}; !slices.Equal(got, want) {
		t.Errorf("a pool runner with label arm got %v, want %v", got, want)
	}
	if got, want := drain(s, anyone("gpu", "x", "arm", "gpu"), at(100)), []int{1, 2}; !slices.Equal(got, want) {
		t.Errorf("a pool runner with both labels got %v, want %v", got, want)
	}
	if got, want := drain(s, scheduler.Runner{Runtimes: []string{"other"}}, at(100)), []int{3}; !slices.Equal(got, want) {
		t.Errorf("a runner of another runtime got %v, want %v", got, want)
	}
	if got := drain(s, scheduler.Runner{Workspace: workspaceID(77), Runtimes: []string{"builtin"}}, at(100)); got != nil {
		t.Errorf("a stranger's runner got %v", got)
	}
}

func TestARunWaitsForItsTime(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(unlimited(2))
	s.Add(item(1, 1, notBefore(at(50))))
	s.Add(item(2, 1, notBefore(at(40))))
	if due, ok := s.NextDue(); !ok || !due.Equal(at(40)) {
		t.Errorf("NextDue = %v, %v", due, ok)
	}
	if got := drain(s, anyone(), at(39)); got != nil {
		t.Errorf("%v was picked before its time", got)
	}
	if got, want := drain(s, anyone(), at(40)), []int{2}; !slices.Equal(got, want) {
		t.Errorf("at its time: %v, want %v", got, want)
	}
	if !s.Remove(runID(1)) || s.Remove(runID(1)) || s.Waiting() != 0 {
		t.Error("a run that waits for its time must be removable, once")
	}
}

func TestSyncMakesTheMemoryWhatTheRowsSay(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(map[corp.WorkspaceID]scheduler.Share{workspaceID(1): atMost(2)})
	s.Add(item(1, 1))
	s.Add(item(2, 1))
	s.Start(held(item(3, 1), at(1)))
	s.Start(held(item(4, 1), at(1)))
	// 1 was cancelled, 3 has ended, 4 is back in the queue, 5 is new, 6 was leased.
	rows := []scheduler.Held{held(item(6, 1), at(1)), held(item(2, 1), at(1))}
	s.SyncWorkspace(workspaceID(1), []scheduler.Item{item(2, 1), item(4, 1), item(5, 1)}, rows, true, at(2))
	if s.Waiting() != 3 || s.InHand(workspaceID(1)) != 1 {
		t.Errorf("waiting %d, in hand %d; want 3 and 1", s.Waiting(), s.InHand(workspaceID(1)))
	}
	if got, want := drain(s, anyone(), at(100)), []int{2}; !slices.Equal(got, want) {
		t.Errorf("picked %v, want %v", got, want)
	}
	// Only the head was read: what waits behind it stays.
	s.SyncWorkspace(workspaceID(1), []scheduler.Item{item(7, 1)}, nil, false, at(3))
	if s.Waiting() != 3 || s.InHand(workspaceID(1)) != 0 {
		t.Errorf("waiting %d, in hand %d; want 3 and 0", s.Waiting(), s.InHand(workspaceID(1)))
	}
}

// Not parallel: it counts allocations.
func TestSomebodysManyLabelsCostTheOthersNothing(t *testing.T) {
	s := scheduler.New()
	s.SetShares(unlimited(3))
	for n := range 50_000 {
		s.Add(item(n, 1, labels("linux", fmt.Sprintf("a%d", n), fmt.Sprintf("z%d", n))))
	}
	s.Add(item(60_000, 2, labels("linux")))
	runs := testing.AllocsPerRun(100, func() {
		if it, ok := s.Pick(anyone("linux", "x"), at(100_000)); !ok || it.Run != runID(60_000) {
			t.Fatal("the run that fits was not picked")
		}
	})
	if runs > 50 { // a walk along the labels, not along the queue
		t.Errorf("a pick allocated %v times", runs)
	}
	for n := range 50_000 {
		s.Remove(runID(n))
	}
	if s.Waiting() != 1 {
		t.Errorf("%d wait, want 1", s.Waiting())
	}
}

func TestAWorkspaceThatIsGoneLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	for i := range 100 {
		s.SetShare(workspaceID(i), atMost(2))
		s.Add(item(2*i, i))
		s.Start(held(item(2*i+1, i), at(1)))
		s.Forget(workspaceID(i))
		if got := drain(s, anyone(), at(2)); len(got) != 0 {
			t.Fatalf("it still gets %v", got)
		}
		s.SyncWorkspace(workspaceID(i), nil, nil, true, at(3))
	}
	if n := s.Workspaces(); n != 0 {
		t.Errorf("%d workspaces are remembered", n)
	}
}

func TestWhatWasReadToAPlaceAndIsNotThereIsTakenOut(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetShares(map[corp.WorkspaceID]scheduler.Share{workspaceID(1): atMost(0)})
	for n := 1; n <= 6; n++ {
		s.Add(item(n, 1))
	}
	s.Add(item(7, 1, priority(5)))
	s.Add(item(8, 1, notBefore(at(1)))) // of another list
	s.RemoveBefore(item(4, 1), func(run corp.RunID) bool { return run == runID(2) })
	s.RemoveBefore(item(9, 2), func(corp.RunID) bool { return false }) // of a workspace that nobody knows
	if got, want := drain(s, anyone(), at(100)), []int{2, 4, 5, 6, 8}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
}
