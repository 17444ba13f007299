package dispatch

import (
	"context"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/scheduler"
)

// why is a question what a run waits for. The owner of the memory answers it.
type why struct {
	run     corp.RunID
	runners []scheduler.Runner
	reply   chan scheduler.Explanation // holds one
}

func (s *seat) explain(w *why) { w.reply <- s.queue.Explain(w.run, w.runners, time.Now()) }

// ask puts a question to the owner of the memory.
func (s *seat) why(ctx context.Context, run corp.RunID, runners []scheduler.Runner) (scheduler.Explanation, error) {
	w := &why{run: run, runners: runners, reply: make(chan scheduler.Explanation, 1)}
	select {
	case s.whys <- w:
		return <-w.reply, nil
	case <-s.done:
		return scheduler.Explanation{}, notLeading()
	case <-ctx.Done():
		return scheduler.Explanation{}, gone(ctx)
	}
}
