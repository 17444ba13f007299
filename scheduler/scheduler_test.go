package scheduler_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
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

func unlimited(n int) map[corp.WorkspaceID]int {
	limits := map[corp.WorkspaceID]int{}
	for i := range n {
		limits[workspaceID(i)] = 0
	}
	return limits
}

// drain picks and starts until nothing fits.
func drain(s *scheduler.Scheduler, r scheduler.Runner, now time.Time) (got []int) {
	for {
		it, ok := s.Pick(r, now)
		if !ok {
			return got
		}
		s.Start(it.Workspace, it.Run)
		got = append(got, int(it.Run[13])<<16|int(it.Run[14])<<8|int(it.Run[15]))
	}
}

func TestTheOldestGoesFirstAndPriorityStaysWithinItsWorkspace(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetLimits(unlimited(3))
	for _, it := range []scheduler.Item{item(1, 1), item(2, 2), item(3, 1, priority(9)), item(4, 2), item(5, 0, priority(9))} {
		if !s.Add(it) {
			t.Fatalf("Add(%v) = false", it.Run)
		}
	}
	// 3 goes before 1 within their workspace, on the turn that 1's age has earned.
	if got, want := drain(s, anyone(), at(100)), []int{3, 1, 2, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestAWorkspaceAtItsLimitIsPassedOverAndComesBack(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetLimits(map[corp.WorkspaceID]int{workspaceID(1): 2, workspaceID(2): 0})
	for n := range 6 {
		s.Add(item(n, 1+n/4)) // 0 to 3 belong to workspace 1, 4 and 5 to workspace 2
	}
	if got, want := drain(s, anyone(), at(100)), []int{0, 1, 4, 5}; !slices.Equal(got, want) {
		t.Fatalf("order %v, want %v", got, want)
	}
	if !s.Finish(runID(0)) || s.Finish(runID(0)) {
		t.Error("the first Finish must say true and the second false")
	}
	if got, want := drain(s, anyone(), at(100)), []int{2}; !slices.Equal(got, want) {
		t.Errorf("after one finished twice: %v, want %v", got, want)
	}
	s.SetLimits(map[corp.WorkspaceID]int{workspaceID(1): 1, workspaceID(2): 0})
	s.Finish(runID(1))
	if got := drain(s, anyone(), at(100)); got != nil {
		t.Errorf("a lowered limit was passed with %v", got)
	}
	s.SetLimits(map[corp.WorkspaceID]int{workspaceID(1): 0, workspaceID(2): 0})
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
	s.SetLimits(unlimited(2))
	if _, ok := s.Pick(anyone(), at(10)); !ok {
		t.Error("nothing was picked once the limit was known")
	}
}

func TestARunGoesOnlyToARunnerThatFits(t *testing.T) {
	t.Parallel()
	s := scheduler.New()
	s.SetLimits(unlimited(3))
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
	s.SetLimits(unlimited(2))
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
	s.SetLimits(map[corp.WorkspaceID]int{workspaceID(1): 2})
	s.Add(item(1, 1))
	s.Add(item(2, 1))
	s.Start(workspaceID(1), runID(3))
	s.Start(workspaceID(1), runID(4))
	// 1 was cancelled, 3 has ended, 4 is back in the queue, 5 is new, 6 was leased.
	s.Sync([]scheduler.Item{item(2, 1), item(4, 1), item(5, 1)}, map[corp.RunID]corp.WorkspaceID{runID(6): workspaceID(1), runID(2): workspaceID(1)})
	if s.Waiting() != 3 || s.InHand(workspaceID(1)) != 1 {
		t.Errorf("waiting %d, in hand %d; want 3 and 1", s.Waiting(), s.InHand(workspaceID(1)))
	}
	if got, want := drain(s, anyone(), at(100)), []int{2}; !slices.Equal(got, want) {
		t.Errorf("picked %v, want %v", got, want)
	}
}

// model is the scheduler in a few obvious lines: a list that is searched.
type model struct {
	waiting []scheduler.Item
	inHand  map[corp.RunID]corp.WorkspaceID
	limits  map[corp.WorkspaceID]int
}

func (m *model) count(ws corp.WorkspaceID) (n int) {
	for _, owner := range m.inHand {
		if owner == ws {
			n++
		}
	}
	return n
}

func (m *model) fits(it scheduler.Item, r scheduler.Runner, now time.Time) bool {
	limit, known := m.limits[it.Workspace]
	if !known || limit > 0 && m.count(it.Workspace) >= limit || it.NotBefore.After(now) {
		return false
	}
	if !r.Workspace.IsZero() && r.Workspace != it.Workspace || !slices.Contains(r.Runtimes, it.Runtime) {
		return false
	}
	return !slices.ContainsFunc(it.Labels, func(l string) bool { return !slices.Contains(r.Labels, l) })
}

func (m *model) pick(r scheduler.Runner, now time.Time) (scheduler.Item, bool) {
	fit := slices.DeleteFunc(slices.Clone(m.waiting), func(it scheduler.Item) bool { return !m.fits(it, r, now) })
	if len(fit) == 0 {
		return scheduler.Item{}, false
	}
	age := func(a, b scheduler.Item) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), slices.Compare(a.Run[:], b.Run[:]))
	}
	turn := slices.MinFunc(fit, age).Workspace
	fit = slices.DeleteFunc(fit, func(it scheduler.Item) bool { return it.Workspace != turn })
	return slices.MinFunc(fit, func(a, b scheduler.Item) int { return cmp.Or(cmp.Compare(b.Priority, a.Priority), age(a, b)) }), true
}

func (m *model) remove(run corp.RunID) {
	m.waiting = slices.DeleteFunc(m.waiting, func(it scheduler.Item) bool { return it.Run == run })
}

var allLabels = []string{"arm", "gpu", "linux", "big"}

func someLabels(bits uint64) (l []string) {
	for i, label := range allLabels {
		if bits>>i&1 == 1 {
			l = append(l, label)
		}
	}
	return l
}

// play does the same random things to the scheduler and to the model, and
// compares every pick.
func play(t *testing.T, rng *rand.Rand, steps int) {
	t.Helper()
	const workspaces, runs = 5, 60
	s, m := scheduler.New(), &model{inHand: map[corp.RunID]corp.WorkspaceID{}, limits: map[corp.WorkspaceID]int{}}
	now := at(0)
	for step := range steps {
		run := runID(rng.IntN(runs))
		switch rng.IntN(9) {
		case 0, 1, 2:
			it := item(0, int(run[15])%workspaces, priority(rng.IntN(3)), labels(someLabels(rng.Uint64()&rng.Uint64())...))
			it.Run, it.CreatedAt = run, at(rng.IntN(20))
			if rng.IntN(4) == 0 {
				it.NotBefore = now.Add(time.Duration(rng.IntN(20)) * time.Second)
			}
			if s.Add(it) {
				m.waiting = append(m.waiting, it)
			}
		case 3:
			s.Remove(run)
			m.remove(run)
		case 4:
			_, held := m.inHand[run]
			if s.Finish(run) != held {
				t.Fatalf("step %d: Finish(%v) = %v", step, run, !held)
			}
			delete(m.inHand, run)
		case 5:
			for i := range workspaces {
				delete(m.limits, workspaceID(i))
				if rng.IntN(4) > 0 {
					m.limits[workspaceID(i)] = rng.IntN(4)
				}
			}
			s.SetLimits(m.limits)
		case 6:
			now = now.Add(time.Duration(rng.IntN(10)) * time.Second)
		default:
			r := anyone(someLabels(rng.Uint64())...)
			if rng.IntN(4) == 0 {
				r.Workspace = workspaceID(rng.IntN(workspaces))
			}
			got, ok := s.Pick(r, now)
			want, wanted := m.pick(r, now)
			if ok != wanted || got.Run != want.Run {
				t.Fatalf("step %d: picked %v (%v), want %v (%v)", step, got.Run, ok, want.Run, wanted)
			}
			if ok {
				s.Start(got.Workspace, got.Run)
				m.remove(got.Run)
				m.inHand[got.Run] = got.Workspace
			}
		}
		compare(t, step, s, m, workspaces)
	}
}

func compare(t *testing.T, step int, s *scheduler.Scheduler, m *model, workspaces int) {
	t.Helper()
	if s.Waiting() != len(m.waiting) {
		t.Fatalf("step %d: %d wait, want %d", step, s.Waiting(), len(m.waiting))
	}
	for i := range workspaces {
		if got, want := s.InHand(workspaceID(i)), m.count(workspaceID(i)); got != want {
			t.Fatalf("step %d: workspace %d has %d in hand, want %d", step, i, got, want)
		}
	}
}

func TestItAlwaysPicksWhatASearchThroughTheWholeListWouldPick(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			play(t, rand.New(rand.NewPCG(seed, 1)), 600)
		})
	}
}

func FuzzItAlwaysPicksWhatASearchWouldPick(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { play(t, rand.New(rand.NewPCG(a, b)), 400) })
}

// Not parallel: it counts allocations.
func TestSomebodysManyLabelsCostTheOthersNothing(t *testing.T) {
	s := scheduler.New()
	s.SetLimits(unlimited(3))
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

func BenchmarkPickOf100kOver1000Workspaces(b *testing.B) {
	s := scheduler.New()
	s.SetLimits(unlimited(1000))
	for n := range 100_000 {
		s.Add(item(n, n%1000, priority(n%10)))
	}
	r := anyone("linux")
	n := 100_000
	for b.Loop() {
		it, _ := s.Pick(r, at(1_000_000))
		s.Start(it.Workspace, it.Run)
		s.Finish(it.Run)
		s.Add(item(n, n%1000, priority(n%10)))
		n++
	}
}
