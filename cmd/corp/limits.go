package main

import (
	"context"
	"fmt"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
)

// maxLimitKeys bounds what a server itself remembers of limits: about 50 MB.
const maxLimitKeys = 200_000

// counts is what requests and failed sign-ins are counted in.
type counts struct {
	counter
	redis *limit.Redis // nil: this server counts by itself
}

type counter interface {
	limit.Store
	limit.Backoff
}

// openCounts uses the Redis of a URL, if there is one. A server starts without its
// Redis as it goes on without it, and says so.
func openCounts(ctx context.Context, url string, log *slog.Logger) (*counts, error) {
	local := limit.NewMemory(nil, maxLimitKeys)
	if url == "" {
		return &counts{counter: local}, nil
	}
	redis, err := limit.NewRedis(url)
	if err != nil {
		return nil, err
	}
	if err := redis.Ping(ctx); err != nil {
		log.WarnContext(ctx, "redis does not answer: limits are counted by this server alone until it does", "error", err)
	}
	return &counts{limit.WithFallback(redis, local, log), redis}, nil
}

func (c *counts) close() {
	if c.redis != nil {
		_ = c.redis.Close() // nothing is buffered in it
	}
}

func newLimits(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "limits", Short: "Show the workspace's plan, its limits and what is left of them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.connect()
			if err != nil {
				return err
			}
			got, err := c.Limits(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(got, func(w *tabwriter.Writer) { showLimits(w, got) })
		},
	}
}

func showLimits(w *tabwriter.Writer, got corp.Limits) {
	row(w, "plan", got.Plan.Name)
	row(w)
	row(w, "LIMIT", "MOST", "LEFT NOW")
	for _, l := range got.Limits {
		most, left := "unlimited", ""
		if l.Limit > 0 {
			most = fmt.Sprint(l.Limit)
			switch l.Every {
			case "":
			case "hour":
				most += " an hour"
			default:
				most += " a " + l.Every
			}
		}
		if l.Left != nil {
			left = fmt.Sprint(*l.Left)
		}
		row(w, l.Name, most, left)
	}
}
