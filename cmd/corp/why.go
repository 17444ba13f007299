package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newTaskWhy(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "why TASK", Short: "Say what a task waits for, and about how long", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseArg[corp.TaskID](args[0])
			if err != nil {
				return err
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			w, err := c.TaskWait(cmd.Context(), id)
			if err != nil {
				return err
			}
			return o.print(w, func(t *tabwriter.Writer) { showWait(t, w) })
		},
	}
}

func showWait(t *tabwriter.Writer, w corp.Wait) {
	row(t, "task", w.TaskID)
	row(t, "state", w.State)
	row(t, "waits for", w.Cause)
	row(t, "detail", w.Detail)
	if w.Position > 0 {
		row(t, "position", fmt.Sprintf("%d in the workspace's queue", w.Position))
	}
	if w.AboutMS != nil {
		row(t, "starts in", "about "+about(*w.AboutMS))
	}
}

// about shows a guess as roughly as it is meant.
func about(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return "a second"
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// When "corp run" says why nothing has started, and how often it looks again.
const (
	sayWhyAfter = 3 * time.Second
	askWhyEvery = 5 * time.Second
)

// followAndSayWhy is follow, and tells in between what the task waits for.
func (o *options) followAndSayWhy(ctx context.Context, c *client.Client, id corp.TaskID, w io.Writer) error {
	shared := &sharedWriter{w: w}
	waiting, started := context.WithCancel(ctx)
	var why sync.WaitGroup
	why.Go(func() { sayWhy(waiting, c, id, shared) })
	err := o.follow(ctx, c, id, shared)
	started()
	why.Wait()
	return err
}

// sharedWriter is one that several goroutines write whole lines to.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write passes b on in one piece.
func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// sayWhy tells what a task waits for while it has not started, once and whenever
// that changes, until it has, or ctx ends.
func sayWhy(ctx context.Context, c *client.Client, id corp.TaskID, w io.Writer) {
	timer := time.NewTimer(sayWhyAfter)
	defer timer.Stop()
	for said := ""; ; timer.Reset(askWhyEvery) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait, err := c.TaskWait(ctx, id)
		if err != nil {
			continue // the transcript's own stream tells what is wrong
		}
		if wait.State != corp.TaskQueued && wait.State != corp.TaskBlocked {
			return
		}
		if wait.Cause == corp.WaitNothing || wait.Detail == said {
			continue
		}
		said = wait.Detail
		guess := ""
		if wait.AboutMS != nil {
			guess = " It starts in about " + about(*wait.AboutMS) + "."
		}
		_, _ = fmt.Fprintf(w, "waiting: %s%s\n", wait.Detail, guess)
	}
}
