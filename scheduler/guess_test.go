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
	const workspaces, inHand, burst, turns = 8000, 200, 25, 3000
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
			if n++; n > turns/3 { // the plans are known by then
				got[it.Workspace[15]%4]++
			}
		}
		now = now.Add(200 * time.Millisecond)
		for _, it := range hand[:burst] {
			s.Finish(it.Run, now)
		}
		hand = hand[burst:]
	}
	checkShares(t, got, func(i int) float64 { return float64(plans[i].ClassWeight) / 22 }, burst)
}
