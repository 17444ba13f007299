package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
)

// specFlags are what can be said of a task on the command line, wherever one is
// described.
type specFlags struct {
	spec corp.TaskSpec
	repo string

	budget, deadline    string
	timeout             time.Duration
	retries             int
	retryBase, retryCap time.Duration
}

func (s *specFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.repo, "repo", "", "path or URL of a git repository, or the name of a kept one")
	f.StringVar(&s.spec.Base, "base", "", "branch, tag or commit to start from (default: HEAD)")
	f.StringVar(&s.spec.Agent, "agent", "", "name of the agent (default: default)")
	f.StringVar(&s.budget, "budget", "", "hard limit on the cost of its model calls, in dollars")
	f.StringVar(&s.spec.Check, "check", "", "shell command that must pass for the task to succeed")
	f.DurationVar(&s.timeout, "timeout", corp.DefaultTimeout, "time of one run")
	f.IntVar(&s.spec.MaxAttempts, "attempts", 0, "runs before the task is given up (0: 3)")
	f.IntVar(&s.retries, "retries", 0, "the same, counted without the first run (0: none)")
	f.DurationVar(&s.retryBase, "retry-base", 0, "longest pause before the second run; it doubles with each (0: 2s)")
	f.DurationVar(&s.retryCap, "retry-cap", 0, "longest pause before any run (0: 5m)")
	f.StringVar(&s.deadline, "deadline", "", "when it must be done: a time, or how long after it is submitted")
	f.IntVar(&s.spec.Priority, "priority", 0, "0 to 9, higher first")
	f.StringSliceVar(&s.spec.Labels, "label", nil, "label that the runner must have")
	_ = cmd.MarkFlagRequired("repo")
	cmd.MarkFlagsMutuallyExclusive("attempts", "retries")
}

// read completes and checks what the flags said. now is what a time without a
// date or a zone is read by; w takes what is odd and yet allowed.
func (s *specFlags) read(f *pflag.FlagSet, prompt []string, now time.Time, w io.Writer) error {
	if s.spec.Prompt = strings.Join(prompt, " "); strings.TrimSpace(s.spec.Prompt) == "" {
		return usageError{corp.Invalid("prompt", "The prompt is empty.", "Say what to do, in plain words.")}
	}
	if s.budget != "" {
		limit, err := corp.ParseDollars(s.budget)
		if err != nil {
			return usageError{err}
		}
		s.spec.Budget = &limit
		if limit == 0 {
			_, _ = fmt.Fprintln(w, "corp: a budget of 0 lets through only calls of models that cost nothing")
		}
	}
	if s.timeout < time.Second || s.timeout > corp.MaxTimeout {
		return usageError{corp.Invalid("timeout", "A run's time is between a second and a day.", "Write it like 5m or 90s.")}
	}
	s.spec.TimeoutSeconds = int(s.timeout.Round(time.Second).Seconds())
	if s.spec.Priority < 0 || s.spec.Priority > 9 {
		return usageError{corp.Invalid("priority", "A priority is between 0 and 9.", "9 goes first; leave it out for 0.")}
	}
	if f.Changed("label") && (len(s.spec.Labels) == 0 || emptyName(s.spec.Labels)) {
		return emptyLabel()
	}
	if err := s.readRetry(f); err != nil {
		return err
	}
	return s.readDeadline(now)
}

func emptyName(names []string) bool { return slices.Contains(names, "") }

// emptyLabel refuses what is a script's unset variable: the task would run on any
// runner.
func emptyLabel() error {
	return usageError{corp.Invalid("label", "The label is empty.", "Name one, or leave --label out.")}
}

const (
	maxAttempts = 20             // the server's
	maxPause    = 24 * time.Hour // the server's
)

// readRetry takes what is said of further runs.
func (s *specFlags) readRetry(f *pflag.FlagSet) error {
	if s.spec.MaxAttempts < 0 || s.spec.MaxAttempts > maxAttempts {
		return usageError{corp.Invalid("attempts", fmt.Sprintf("The number of runs is between 1 and %d.", maxAttempts), fmt.Sprintf("Leave it out for %d.", corp.DefaultMaxAttempts))}
	}
	if f.Changed("retries") {
		if s.retries < 0 || s.retries >= maxAttempts {
			return usageError{corp.Invalid("retries", fmt.Sprintf("The number of retries is between 0 and %d.", maxAttempts-1), "Give 0 for a single run.")}
		}
		s.spec.MaxAttempts = s.retries + 1
	}
	for flag, pause := range map[string]time.Duration{"retry-base": s.retryBase, "retry-cap": s.retryCap} {
		if pause < 0 || pause > maxPause {
			return usageError{corp.Invalid(flag, "A pause is between 0 and 24 hours.", "Write it like 10s or 2m.")}
		}
	}
	if s.retryBase == 0 && s.retryCap == 0 {
		return nil
	}
	s.spec.Retry = &corp.RetryPolicy{BaseMS: s.retryBase.Milliseconds(), CapMS: s.retryCap.Milliseconds()}
	if whole := s.spec.Retry.Complete(); whole.CapMS < whole.BaseMS {
		return usageError{corp.Invalid("retry-cap", "The longest pause is shorter than the first one.", "Raise --retry-cap (5m when it is left out) to at least --retry-base (2s when it is left out).")}
	}
	return nil
}

func (s *specFlags) readDeadline(now time.Time) error {
	if s.deadline == "" {
		return nil
	}
	if d, err := time.ParseDuration(s.deadline); err == nil {
		s.spec.DeadlineSeconds, err = seconds("deadline", d)
		return err
	}
	at, err := parseTime("deadline", s.deadline, now)
	if err != nil {
		return usageError{corp.Invalid("deadline", "That is neither a time nor how long.", "Write it like 2h, 22:30, 2026-05-01 22:30 or 2026-05-01T22:30:00Z.")}
	}
	s.spec.DeadlineAt = &at
	return nil
}

// delayFlags say when a task starts that is submitted now.
type delayFlags struct {
	at string
	in time.Duration
}

func (d *delayFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&d.at, "at", "", "start no earlier: 15:04, 2006-01-02 15:04 or an RFC 3339 time")
	f.DurationVar(&d.in, "in", 0, "start no earlier than this from now")
	cmd.MarkFlagsMutuallyExclusive("at", "in")
}

func (d *delayFlags) read(spec *corp.TaskSpec, now time.Time) (err error) {
	if d.at != "" {
		at, err := parseTime("at", d.at, now)
		if err == nil && at.Before(now.Add(-time.Minute)) { // a script may take a moment to get here
			err = usageError{corp.Invalid("at", "That time is over.", "Name one to come, or leave --at out to start now.")}
		}
		spec.NotBefore = &at
		return err
	}
	if d.in != 0 {
		spec.DelaySeconds, err = seconds("in", d.in)
	}
	return err
}

// maxAhead is how far ahead the server takes a start or a deadline.
const maxAhead = 365 * 24 * time.Hour

// seconds rounds up, so that what was asked for is never cut short.
func seconds(flag string, d time.Duration) (int64, error) {
	if d <= 0 {
		return 0, usageError{corp.Invalid(flag, "That is not a time to come.", "Write it like 90s, 10m or 2h.")}
	}
	if d > maxAhead {
		return 0, usageError{corp.Invalid(flag, "That is more than a year ahead.", "Write a shorter time, like 90s, 10m or 2h.")}
	}
	return int64((d + time.Second - 1) / time.Second), nil
}

// parseTime reads a time as people write it, in the zone of this machine. A time
// of day is the next one of its kind.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	if clock, err := time.Parse("15:04", text); err == nil {
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = time.Date(now.Year(), now.Month(), now.Day()+1, clock.Hour(), clock.Minute(), 0, 0, now.Location())
		}
		return at, nil
	}
	return time.Time{}, usageError{corp.Invalid(flag, "That is not a time.", "Write it like 22:30, 2026-05-01 22:30 or 2026-05-01T22:30:00Z.")}
}
