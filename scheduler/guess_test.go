package scheduler_test

import (
	"testing"
	"time"

	"github.com/genericcorp/corp/scheduler"
)

// Many workspaces of which each has one short run, carried out in bursts: what a
// run costs is known of the plan, although of no workspace.
func TestPlansShareByWeightAmongWorkspacesThatAreAllNew(t *testing.T) {
	t.Parallel()
	const workspaces, inHand, burst, turns = 16000, 200, 25, 6000
	plans := []scheduler.Share{
		{Class: "free", ClassWeight: 1, Weight: 1},
		{Class: "starter", ClassWeight: 3, Weight: 1},
		{Class: "pro", ClassWeight: 6, Weight: 1},
		{Class: "enterprise", ClassWeight: 12, Weight: 1},
	}
	s, now := scheduler.New(), at(0)
	for i := range workspaces {
		s.SetShare(workspaceID(i), plans[i%4])
		s.Add(item(i, i))
	}
	got, hand := make([]float64, 4), []scheduler.Item{}
	for n := 0; n < turns; {
		for len(hand) < inHand {
			it, ok := s.Pick(anyone(), now)
			if !ok {
				t.Fatal("nothing is left")
			}
			s.Start(held(it, now))
			hand = append(hand, it)
			n++
			got[it.Workspace[15]%4]++
		}
		now = now.Add(200 * time.Millisecond)
		for _, it := range hand[:burst] {
			s.Finish(it.Run, now)
		}
		hand = hand[burst:]
	}
	checkShares(t, got, func(i int) float64 { return float64(plans[i].ClassWeight) / 22 }, burst)
}

// What a plan's workspaces get that are new does not depend on how long others of
// the plan have worked: one with runs of an hour could keep them all from theirs.
func TestLongRunsOfOneWorkspaceKeepNothingFromTheNewOnesOfItsPlan(t *testing.T) {
	t.Parallel()
	undisturbed := newcomers(t, 0)
	for _, long := range []int{1, 5} {
		if got := newcomers(t, long); got < undisturbed*9/10 {
			t.Errorf("after %d long runs of one workspace the new ones of its plan get %d runs in ten seconds, else %d", long, got, undisturbed)
		}
	}
}

// newcomers returns how many runs of a second the new workspaces of a plan begin
// in ten seconds, of those that they share with a plan of the same weight, after
// so many runs of an hour of one that is not new.
func newcomers(t *testing.T, long int) (begun int) {
	t.Helper()
	const old, rival, first, slots = 0, 1, 2, 100
	s, now, next := scheduler.New(), at(3600), 0
	submit := func(ws int) scheduler.Item {
		it := item(next, ws)
		next++
		s.Add(it)
		return it
	}
	s.SetShare(workspaceID(old), scheduler.Share{Class: "free", ClassWeight: 1, Weight: 1})
	s.SetShare(workspaceID(rival), scheduler.Share{Class: "pro", ClassWeight: 1, Weight: 1})
	var done []scheduler.Item
	for range long {
		it := submit(old)
		s.Start(held(it, at(0)))
		done = append(done, it)
	}
	for range slots {
		submit(rival)
	}
	var hand []scheduler.Item
	second := func() {
		for _, it := range hand {
			s.Finish(it.Run, now)
		}
		for hand = hand[:0]; len(hand) < slots; {
			it, ok := s.Pick(anyone(), now)
			if !ok {
				t.Fatal("nothing is left")
			}
			s.Start(held(it, now))
			hand = append(hand, it)
			if it.Workspace == workspaceID(rival) {
				submit(rival)
			} else {
				begun++
			}
		}
		now = now.Add(time.Second)
		s.Charge(now)
	}
	for range 50 * (long + 1) { // until the other plan has had as much
		second()
	}
	for _, it := range done {
		s.Finish(it.Run, now)
	}
	for i := range 3000 {
		s.SetShare(workspaceID(first+i), scheduler.Share{Class: "free", ClassWeight: 1, Weight: 1})
		submit(first + i)
	}
	for range 10 {
		second()
	}
	return begun
}
