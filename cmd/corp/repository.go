package main

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newRepository(o *options) *cobra.Command {
	return parent("repository", "Keep git sources with their credentials",
		newRepositoryAdd(o),
		newList(o, lister[corp.Repository]{
			short: "List the repositories",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Repository], error) {
				return c.Repositories(ctx, p)
			},
			header: []any{"NAME", "URL", "BASE", "CREDENTIAL", "AT A TIME", "ID"},
			columns: func(r corp.Repository) []any {
				credential := "none"
				if r.HasCredential {
					credential = "kept"
				}
				return []any{r.Name, r.URL, r.DefaultBase, credential, atATime(r.Concurrency), r.ID}
			},
		}),
		newRepositoryLimit(o),
		newChange(o, "archive NAME", "Retire a repository; its tasks stay",
			func(ctx context.Context, c *client.Client, name string) (corp.Repository, error) {
				r, err := findRepository(ctx, c, name)
				if err != nil {
					return r, err
				}
				return c.ArchiveRepository(ctx, r.ID)
			},
			func(r corp.Repository) error { return o.showRepository(r, "archived", nil) }),
	)
}

func newRepositoryAdd(o *options) *cobra.Command {
	var ask client.RepositoryRequest
	var user, passwordEnv string
	cmd := &cobra.Command{Use: "add NAME URL", Short: "Keep a git source, with its credential", Args: cobra.ExactArgs(2)}
	f := cmd.Flags()
	f.StringVar(&ask.DefaultBase, "base", "", "the ref that tasks start from (default: the remote's HEAD)")
	f.StringVar(&user, "user", "x-access-token", "user name to sign in with")
	f.StringVar(&passwordEnv, "password-env", "", "environment variable with the password or token")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ask.Name, ask.URL = args[0], args[1]
		if passwordEnv != "" {
			password := o.env.Getenv(passwordEnv)
			if password == "" {
				return usageError{corp.Invalid("password-env", fmt.Sprintf("The environment variable %q is empty or not set.", passwordEnv), "Put the password or token in it: export "+passwordEnv+"=…")}
			}
			ask.Credential = &corp.GitCredential{Username: user, Password: password}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		r, err := c.CreateRepository(cmd.Context(), ask)
		return o.showRepository(r, "saved", err)
	}
	return cmd
}

func newRepositoryLimit(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "limit NAME RUNS", Short: "Change how many runs on a repository there may be at a time (0: any)", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 0 {
				return usageError{corp.Invalid("runs", fmt.Sprintf("%q is not a number of runs.", args[1]), "Write a whole number; 0 means no limit.")}
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			r, err := findRepository(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			r, err = c.LimitRepository(cmd.Context(), r.ID, n)
			return o.showRepository(r, "limited", err)
		},
	}
}

func (o *options) showRepository(r corp.Repository, done string, err error) error {
	if err != nil {
		return err
	}
	return o.print(r, func(w *tabwriter.Writer) { row(w, fmt.Sprintf("Repository %s (%s) %s: %s", r.Name, r.URL, done, r.ID)) })
}

// findRepository finds a repository of the workspace by name or id.
func findRepository(ctx context.Context, c *client.Client, name string) (corp.Repository, error) {
	all, err := collect(ctx, corp.MaxPage, c.Repositories)
	if err != nil {
		return corp.Repository{}, err
	}
	for _, r := range all {
		if r.Name == name || r.ID.String() == name {
			return r, nil
		}
	}
	return corp.Repository{}, corp.NotFound("repository")
}
