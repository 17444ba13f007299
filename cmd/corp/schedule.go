package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

func newSchedule(o *options) *cobra.Command {
	set := func(use, short, done string, u corp.ScheduleUpdate) *cobra.Command {
		return newChange(o, use+" NAME", short,
			func(ctx context.Context, c *client.Client, name string) (corp.Schedule, error) {
				return c.UpdateSchedule(ctx, name, u)
			},
			func(s corp.Schedule) error { return o.showSchedule(s, done, nil) })
	}
	return parent("schedule", "Submit tasks again and again, by the clock",
		newScheduleCreate(o),
		newScheduleUpdate(o),
		newList(o, lister[corp.Schedule]{
			short: "List the schedules",
			watch: true,
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Schedule], error) {
				return c.Schedules(ctx, p)
			},
			header: []any{"NAME", "CRON", "TIME ZONE", "NEXT", "LAST", "LAST TASK", "ERROR", "PROMPT"},
			columns: func(s corp.Schedule) []any {
				return []any{s.Name, s.Cron, s.TimeZone, nextOf(s), timeOrDash(s.LastAt), idOrDash(s.LastTaskID), terminal.Shorten(s.LastError, 40), terminal.Shorten(s.Task.Prompt, 40)}
			},
		}),
		newScheduleShow(o),
		set("pause", "Submit nothing until it is resumed", "paused", corp.ScheduleUpdate{Paused: new(true)}),
		set("resume", "Go on with the next time that is still to come", "resumed", corp.ScheduleUpdate{Paused: new(false)}),
		newChange(o, "trigger NAME", "Submit its task now, paused or not",
			func(ctx context.Context, c *client.Client, name string) (corp.Task, error) {
				return c.TriggerSchedule(ctx, name, "")
			},
			o.showDetached),
		newChange(o, "delete NAME", "End a schedule; its tasks stay",
			func(ctx context.Context, c *client.Client, name string) (corp.Schedule, error) {
				return c.ArchiveSchedule(ctx, name)
			},
			func(s corp.Schedule) error { return o.showSchedule(s, "ended", nil) }),
	)
}

// timetableFlags say when a schedule comes.
type timetableFlags struct{ cron, zone, missed string }

func (t *timetableFlags) add(f *pflag.FlagSet) {
	f.StringVar(&t.cron, "cron", "", `minute, hour, day of month, month, day of week, like "30 2 * * 1-5"; or @hourly, @daily, @weekly, @monthly, @yearly`)
	f.StringVar(&t.zone, "time-zone", "", "whose clocks that is about, like Europe/Berlin (default: UTC)")
	f.StringVar(&t.missed, "missed", "", "times that passed while nobody served: run_once (the default) or skip")
}

func newScheduleCreate(o *options) *cobra.Command {
	var task specFlags
	var when timetableFlags
	var paused bool
	cmd := &cobra.Command{
		Use:   "create NAME --cron EXPRESSION --repo PATH|URL [flags] PROMPT",
		Short: "Submit a task again and again",
		Long: `Stores a task that the server submits whenever the cron expression comes, on the
clocks of the time zone. With a path, the base commit of now is uploaded and every
task starts from it; with a URL or a kept repository each starts from what is there.`,
		Example: `  corp schedule create nightly --cron "30 2 * * *" --time-zone Europe/Berlin \
      --repo https://git.example.com/team/app.git --check "make test" "update the dependencies"`,
		Args: cobra.MinimumNArgs(2),
	}
	task.add(cmd)
	when.add(cmd.Flags())
	cmd.Flags().BoolVar(&paused, "paused", false, "submit nothing until it is resumed")
	_ = cmd.MarkFlagRequired("cron")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := task.read(cmd.Flags(), args[1:], time.Now(), o.env.Err); err != nil {
			return err
		}
		if task.spec.DeadlineAt != nil {
			return usageError{corp.Invalid("deadline", "A task that is repeated cannot have one moment as its deadline.", "Write how long each has from its submission, like 2h.")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		if _, err := o.findSource(cmd.Context(), c, task.repo, &task.spec); err != nil {
			return err
		}
		s, err := c.CreateSchedule(cmd.Context(), corp.ScheduleSpec{
			Name: args[0], Cron: when.cron, TimeZone: when.zone, Missed: when.missed, Paused: paused, Task: task.spec,
		})
		return o.showSchedule(s, "saved", err)
	}
	return cmd
}

func newScheduleUpdate(o *options) *cobra.Command {
	var when timetableFlags
	var name string
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change when a schedule comes, or its name", Args: cobra.ExactArgs(1),
		Long: "Changes what the flags name. A new timetable counts from now on; what passed is not made up for.",
	}
	when.add(cmd.Flags())
	cmd.Flags().StringVar(&name, "name", "", "its new name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var u corp.ScheduleUpdate
		for flag, take := range map[string]func(){
			"name":      func() { u.Name = &name },
			"cron":      func() { u.Cron = &when.cron },
			"time-zone": func() { u.TimeZone = &when.zone },
			"missed":    func() { u.Missed = &when.missed },
		} {
			if cmd.Flags().Changed(flag) {
				take()
			}
		}
		if u == (corp.ScheduleUpdate{}) {
			return usageError{corp.Invalid("cron", "Nothing is said that is to change.", "Give --cron, --time-zone, --missed or --name.")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		s, err := c.UpdateSchedule(cmd.Context(), args[0], u)
		return o.showSchedule(s, "saved", err)
	}
	return cmd
}

func newScheduleShow(o *options) *cobra.Command {
	return newChange(o, "show NAME", "Show a schedule",
		func(ctx context.Context, c *client.Client, name string) (corp.Schedule, error) {
			return c.Schedule(ctx, name)
		},
		func(s corp.Schedule) error {
			return o.print(s, func(w *tabwriter.Writer) {
				row(w, "schedule", s.Name, s.ID)
				row(w, "cron", s.Cron+" in "+s.TimeZone)
				row(w, "missed times", s.Missed)
				row(w, "next", nextOf(s))
				row(w, "last", timeOrDash(s.LastAt), idOrDash(s.LastTaskID))
				if s.LastError != "" {
					row(w, "last error", s.LastError)
				}
				row(w, "agent", orDefault(s.Task.Agent))
				row(w, "created", fmt.Sprintf("%s by %s", ago(s.CreatedAt), s.CreatedBy))
				row(w, "prompt", terminal.Shorten(s.Task.Prompt, 200))
			})
		})
}

func (o *options) showSchedule(s corp.Schedule, done string, err error) error {
	if err != nil {
		return err
	}
	return o.print(s, func(w *tabwriter.Writer) {
		row(w, fmt.Sprintf("Schedule %s %s: %s; next: %s", s.Name, done, s.ID, nextOf(s)))
	})
}

func nextOf(s corp.Schedule) string {
	switch {
	case s.ArchivedAt != nil:
		return "never (ended)"
	case s.Paused:
		return "never (paused)"
	case s.NextAt == nil:
		return "never"
	default:
		return s.NextAt.Local().Format("2006-01-02 15:04 MST")
	}
}

func timeOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func idOrDash(id *corp.TaskID) string {
	if id == nil {
		return "-"
	}
	return id.String()
}

func orDefault(agent string) string {
	if agent == "" {
		return "default"
	}
	return agent
}
