package main

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp/client/contexts"
)

// shownContext is a context without its secrets.
type shownContext struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	Via     string `json:"via"`
	Current bool   `json:"current"`
}

func newContext(o *options) *cobra.Command {
	return parent("context", "The servers that you are signed in to from here",
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List them", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			c, err := o.contexts().Read()
			if err != nil {
				return err
			}
			shown := []shownContext{}
			for _, name := range slices.Sorted(maps.Keys(c.Known)) {
				r := c.Known[name]
				shown = append(shown, shownContext{name, r.Server, r.Via(), name == c.Current})
			}
			return o.print(shown, func(w *tabwriter.Writer) {
				row(w, "NAME", "SERVER", "WITH A", "CURRENT")
				for _, s := range shown {
					current := ""
					if s.Current {
						current = "yes"
					}
					row(w, s.Name, s.Server, s.Via, current)
				}
			})
		}},
		&cobra.Command{Use: "show", Short: "Show the one that is used", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			name, r, err := o.chosenContext()
			if err != nil {
				return err
			}
			s := shownContext{Name: name, Server: r.Server, Via: r.Via(), Current: name != ""}
			if name == "" {
				if l, err := readLocal(o.dataFolder()); err == nil {
					s.Server, s.Via = l.Server, "key of this machine"
				} else {
					s.Via = "nothing"
				}
			}
			return o.print(s, func(w *tabwriter.Writer) {
				row(w, "context", s.Name)
				row(w, "server", s.Server)
				row(w, "with a", s.Via)
			})
		}},
		newContextChange(o, "use NAME", "Use another one from now on", "%s is the current one.", (*contexts.Set).Use),
		newContextChange(o, "remove NAME", "Forget one, without signing out there", "%s is forgotten.", (*contexts.Set).Drop),
	)
}

func newContextChange(o *options, use, short, done string, change func(*contexts.Set, string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		if err := o.contexts().Change(func(c *contexts.Set) error { return change(c, args[0]) }); err != nil {
			return err
		}
		return o.print(map[string]string{"context": args[0]}, func(w *tabwriter.Writer) { row(w, fmt.Sprintf(done, args[0])) })
	}}
}
