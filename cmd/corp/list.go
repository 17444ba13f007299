package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// lister describes a "list" command: how to get a page, and how to show an item.
type lister[T any] struct {
	short   string
	page    func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[T], error)
	header  []any
	columns func(T) []any
	flags   func(*cobra.Command)
	connect func() (*client.Client, error)
	watch   bool // the list changes with events, so it can be watched
}

func newList[T any](o *options, l lister[T]) *cobra.Command {
	var limit int
	var watch bool
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: l.short, Args: cobra.NoArgs}
	cmd.Flags().IntVar(&limit, "limit", corp.DefaultPage, "at most this many, newest first")
	if l.watch {
		cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever something changes")
	}
	if l.flags != nil {
		l.flags(cmd)
	}
	if l.connect == nil {
		l.connect = o.connect
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 {
			return usageError{corp.Invalid("limit", "The limit is at least 1.", "Leave it out for 50.")}
		}
		c, err := l.connect()
		if err != nil {
			return err
		}
		show := func(ctx context.Context) error {
			items, err := collect(ctx, limit, func(ctx context.Context, p corp.Page) (corp.List[T], error) { return l.page(ctx, c, p) })
			if err != nil {
				return err
			}
			return o.print(items, func(w *tabwriter.Writer) {
				row(w, l.header...)
				for _, item := range items {
					row(w, l.columns(item)...)
				}
			})
		}
		if watch {
			return o.watch(cmd.Context(), c, client.StreamQuery{}, show)
		}
		return show(cmd.Context())
	}
	return cmd
}

// collect reads pages until it has limit items or there are no more.
func collect[T any](ctx context.Context, limit int, page func(context.Context, corp.Page) (corp.List[T], error)) ([]T, error) {
	items := []T{}
	cursor := ""
	for len(items) < limit {
		list, err := page(ctx, corp.Page{Cursor: cursor, Limit: min(limit-len(items), corp.MaxPage)})
		if err != nil {
			return nil, err
		}
		items = append(items, list.Items...)
		if cursor = list.NextCursor; cursor == "" {
			break
		}
	}
	return items, nil
}

// watch shows something now and again after every change, until ctx ends.
func (o *options) watch(ctx context.Context, c *client.Client, query client.StreamQuery, show func(context.Context) error) error {
	again := func() error {
		if o.env.Terminal && o.Output == "table" {
			_, _ = fmt.Fprint(o.env.Out, "\x1b[H\x1b[2J")
		}
		return show(ctx)
	}
	if err := again(); err != nil {
		return err
	}
	for update, err := range c.Stream(ctx, query) {
		if ctx.Err() != nil {
			return nil // ctrl-c is how a person ends watching
		}
		if err != nil {
			return err
		}
		if update.Event == nil || update.Event.Kind == "entries.added" {
			continue
		}
		if err := again(); err != nil {
			return err
		}
	}
	return nil
}

// newChange is a command that does one thing to the object that its argument
// names, and shows what became of it.
func newChange[T any](o *options, use, short string, do func(ctx context.Context, c *client.Client, name string) (T, error), show func(T) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := o.connect()
		if err != nil {
			return err
		}
		changed, err := do(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		return show(changed)
	}}
}

// parent is a command that only groups others.
func parent(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(subs...)
	return cmd
}
