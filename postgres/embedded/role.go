package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// roleStatements make the three roles what they must be, whether they exist or
// not and whatever was done to them: they log in and may do nothing that would
// let them past row-level security.
func roleStatements() []string {
	var all []string
	for _, role := range []string{OwnerRole, AppRole, SystemRole} {
		all = append(all,
			"DO $$ BEGIN CREATE ROLE "+role+"; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
			"ALTER ROLE "+role+" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION")
	}
	return all
}

// databaseStatements open the database to its three roles and to nobody else,
// and the maintenance database to the superuser only.
func databaseStatements() []string {
	return []string{
		"ALTER DATABASE " + Database + " OWNER TO " + OwnerRole,
		"REVOKE ALL ON DATABASE " + Database + " FROM PUBLIC",
		"GRANT CONNECT ON DATABASE " + Database + " TO " + AppRole + ", " + SystemRole,
		"REVOKE ALL ON DATABASE postgres FROM PUBLIC",
	}
}

// furnish creates the roles and the database, as far as they are missing.
func (s *Server) furnish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.SuperURL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to postgres: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = run(ctx, conn, roleStatements())
	if err == nil {
		err = createDatabase(ctx, conn)
	}
	if err == nil {
		err = run(ctx, conn, databaseStatements())
	}
	if err != nil {
		return fmt.Errorf("create roles and database: %w", err)
	}
	return nil
}

func createDatabase(ctx context.Context, conn *pgx.Conn) error {
	var one int
	err := conn.QueryRow(ctx, "SELECT 1 FROM pg_database WHERE datname = $1", Database).Scan(&one)
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+Database+" OWNER "+OwnerRole)
	return err
}

func run(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
