package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/postgres/schema"
)

// database is the state of the installation: the private PostgreSQL, if it is
// ours, and the doors into it.
type database struct {
	*postgres.DB
	inside *embedded.Server // nil when the server is external
}

// openDatabase starts the PostgreSQL inside, or uses the external one, and
// opens it. Both ways run the same migrations and the same safety checks; an
// external one is migrated by "corp migrate", which holds other rights.
func openDatabase(ctx context.Context, c *config, log *slog.Logger) (_ *database, err error) {
	d := &database{}
	settings := postgres.Config{AppURL: c.PostgresURL, SystemURL: c.SystemURL, ListenURL: c.DirectURL, MaxConns: c.Connections, Logger: log}
	if c.PostgresURL == "" {
		if d.inside, err = startInside(ctx, c, log); err != nil {
			return nil, err
		}
		settings.AppURL, settings.SystemURL = d.inside.AppURL(), d.inside.SystemURL()
	}
	if d.DB, err = postgres.Open(ctx, settings); err != nil {
		d.close(log)
		return nil, fmt.Errorf("open the database: %w", turnedAway(err, "postgres-url", "The database does not let the server in.",
			"If it is new, run \"corp migrate\" first; else compare user, password and database of CORP_POSTGRES_URL and CORP_POSTGRES_SYSTEM_URL."))
	}
	prices, err := pricebook.Prices()
	if err == nil {
		_, err = d.System("seed prices").SeedPrices(ctx, prices)
	}
	if err == nil {
		_, err = d.System("make partitions").EnsurePartitions(ctx, time.Now().AddDate(0, -1, 0), 3)
	}
	if err != nil {
		d.close(log)
		return nil, fmt.Errorf("prepare the database: %w", err)
	}
	return d, nil
}

// sqlState is an error that a PostgreSQL answered with.
type sqlState interface {
	error
	SQLState() string
}

// turnedAway says, of a database that answers, but knows no such login or no such
// database, which setting that is about and what to do.
func turnedAway(err error, setting, message, remedy string) error {
	state, ok := errors.AsType[sqlState](err)
	if !ok || !slices.Contains([]string{"28000", "28P01", "3D000"}, state.SQLState()) {
		return err
	}
	return &corp.Error{Kind: corp.KindInvalid, Field: setting, Message: message, Hint: remedy, Err: state}
}

// notAdministrator is turnedAway for the login of "corp migrate", also when it is
// let in and lacks a right.
func notAdministrator(err error) error {
	if refused, ok := errors.AsType[sqlState](err); ok && refused.SQLState() == "42501" {
		return &corp.Error{
			Kind: corp.KindInvalid, Field: "postgres-admin-url", Message: "The administrator lacks a right that the migration needs.",
			Hint: "Name one in CORP_POSTGRES_ADMIN_URL who owns the database and may create roles.", Err: refused,
		}
	}
	return turnedAway(err, "postgres-admin-url", "The database does not let the administrator in.", "Compare user, password and database of CORP_POSTGRES_ADMIN_URL.")
}

func startInside(ctx context.Context, c *config, log *slog.Logger) (*embedded.Server, error) {
	server, err := embedded.Start(ctx, embedded.Config{Dir: c.path("postgres"), Logger: log, Durable: true, BinDir: c.PostgresBin})
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, server.SuperURL("corp"), server.OwnerURL(), nil, log); err != nil {
		_ = server.Stop(context.WithoutCancel(ctx))
		return nil, err
	}
	return server, nil
}

// migrate makes the roles with the rights of admin and brings the schema up to
// date with those of owner.
func migrate(ctx context.Context, admin, owner string, logins map[string]string, log *slog.Logger) error {
	if err := schema.Prepare(ctx, admin, logins); err != nil {
		return fmt.Errorf("make the database's roles: %w", err)
	}
	from, to, err := schema.Migrate(ctx, owner)
	if err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	if from != to {
		log.InfoContext(ctx, "schema migrated", "from", from, "to", to)
	}
	return nil
}

func (d *database) close(log *slog.Logger) {
	if d.DB != nil {
		d.Close()
	}
	if d.inside == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := d.inside.Stop(ctx); err != nil {
		log.ErrorContext(ctx, "postgresql did not stop cleanly", "error", err)
	}
}

func newMigrate(o *options) *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring an external PostgreSQL's roles and schema up to date",
		Long: `Uses CORP_POSTGRES_ADMIN_URL, which only this command needs: it makes the roles
corp_app and corp_system with the passwords in CORP_POSTGRES_URL and
CORP_POSTGRES_SYSTEM_URL, and runs the migrations. The PostgreSQL inside is
migrated by "corp up" itself.`,
		Args: cobra.NoArgs,
	}
	c.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.load(cmd.Flags(), o); err != nil {
			return err
		}
		if c.AdminURL == "" {
			return usageError{corp.Invalid("postgres-admin-url", "No external PostgreSQL is named.", "Set CORP_POSTGRES_ADMIN_URL; \"corp up\" migrates the PostgreSQL inside by itself.")}
		}
		logins := map[string]string{"corp_app": password(c.PostgresURL), "corp_system": password(c.SystemURL)}
		log := newLogger(o.env.Err, c.LogFormat, c.LogLevel)
		if err := migrate(cmd.Context(), c.AdminURL, c.AdminURL, logins, log); err != nil {
			return notAdministrator(err)
		}
		_, err := fmt.Fprintln(o.env.Out, "The database is up to date.")
		return err
	}
	return cmd
}

func password(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return ""
	}
	p, _ := u.User.Password()
	return p
}
