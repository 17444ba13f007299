package door

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/hint"
	"github.com/genericcorp/corp/postgres/pgerr"
	"github.com/genericcorp/corp/postgres/schema"
)

// The oldest server that has what the schema uses.
const minServerVersion = 160000

const defaultMaxConns = 10

// Open connects both pools and refuses to go on where tenants would not be safe:
// a role that is superuser, has BYPASSRLS, owns the tables or may become their
// owner; a table of workspaces or people without forced row-level security; a schema that
// is not this build's; a server older than 16. Each refusal is an invalid error
// with the remedy; a database that does not answer is unavailable.
func Open(ctx context.Context, c Config) (_ *DB, err error) {
	db, err := Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err = checkSafety(ctx, db.app, schema.RoleApp, schema.RoleSystem); err != nil {
		return nil, err
	}
	if err = checkSafety(ctx, db.system, schema.RoleSystem, schema.RoleApp); err != nil {
		return nil, err
	}
	if err = schema.Check(ctx, db.app); err != nil {
		return nil, err
	}
	return db, nil
}

// Connect makes the pools and asks nothing of the database. Open is for all but
// the tests that show what the doors do for a role that may see everything.
func Connect(ctx context.Context, c Config) (_ *DB, err error) {
	db := &DB{log: c.Logger}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	db.hints = hint.NewSpeaker(c.AppURL, cmp.Or(c.ListenURL, c.AppURL), db.log)
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if db.app, err = connect(ctx, c.AppURL, "app", c.MaxConns); err != nil {
		return nil, err
	}
	if db.system, err = connect(ctx, c.SystemURL, "system", c.MaxConns); err != nil {
		return nil, err
	}
	db.lanes = newLanes(db.app.Config().MaxConns)
	return db, nil
}

func connect(ctx context.Context, url, which string, conns int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The cause would show the URL, and with it the password.
		return nil, corp.Invalid(which+"_url", "The database's connection string cannot be read.", "Write it like postgres://corp_"+which+":PASSWORD@HOST:5432/corp.")
	}
	config.MaxConns = int32(min(max(conns, 0), 1000))
	if conns <= 0 {
		config.MaxConns = defaultMaxConns
	}
	config.MaxConnIdleTime = 5 * time.Minute
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the %s pool: %w", which, err)
	}
	return pool, nil
}

// Close says what is still unsaid, closes both pools and waits for what still
// runs on them.
func (db *DB) Close() {
	db.hints.Close()
	for _, pool := range []*pgxpool.Pool{db.app, db.system} {
		if pool != nil {
			pool.Close()
		}
	}
}

// Ping asks both roles for a round trip.
func (db *DB) Ping(ctx context.Context) error {
	return pgerr.Translate(ctx, errors.Join(db.app.Ping(ctx), db.system.Ping(ctx)))
}

// safety is what could let a role past row-level security.
type safety struct {
	Version  int
	Role     string
	Super    bool
	Bypass   bool
	Member   bool // of the role that the policies are for
	Foreign  bool // member of the other door's role
	Owned    *string
	Unforced *string
}

func checkSafety(ctx context.Context, pool *pgxpool.Pool, own, foreign string) error {
	rows, err := pool.Query(ctx, `
		SELECT current_setting('server_version_num')::int AS version, r.rolname AS role, r.rolsuper AS super, r.rolbypassrls AS bypass,
			coalesce(pg_has_role(r.oid, to_regrole($1)::oid, 'MEMBER'), false) AS member,
			coalesce(pg_has_role(r.oid, to_regrole($2)::oid, 'MEMBER'), false) AS "foreign",
			(SELECT min(c.relname) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
				AND pg_has_role(r.oid, c.relowner, 'MEMBER')) AS owned,
			(SELECT min(c.relname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('workspace_id', 'user_id') AND NOT a.attisdropped
				WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)) AS unforced
		FROM pg_roles r WHERE r.rolname = current_user`, own, foreign)
	if err != nil {
		return pgerr.Translate(ctx, err)
	}
	s, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[safety])
	if err != nil {
		return pgerr.Translate(ctx, err)
	}
	return s.refuse(own)
}

func (s safety) refuse(own string) error {
	const remedy = "Run corp migrate with the administrator's connection string, and connect as the roles that it makes."
	unsafe := func(format string, args ...any) error {
		return &corp.Error{Kind: corp.KindInvalid, Code: "unsafe_database", Message: fmt.Sprintf(format, args...), Hint: remedy}
	}
	switch {
	case s.Version < minServerVersion:
		return &corp.Error{Kind: corp.KindInvalid, Code: "old_database", Message: fmt.Sprintf("The database server is PostgreSQL %d; 16 is the oldest that will do.", s.Version/10000), Hint: "Upgrade the server, or leave the connection strings out to use the private one inside corp."}
	case s.Super:
		return unsafe("The database role %s is a superuser, whom row-level security does not bind.", s.Role)
	case s.Bypass:
		return unsafe("The database role %s has BYPASSRLS, so it would see every workspace at once.", s.Role)
	case s.Owned != nil:
		return unsafe("The database role %s owns the table %s or may become its owner.", s.Role, *s.Owned)
	case s.Unforced != nil:
		return unsafe("The table %s does not force row-level security.", *s.Unforced)
	case !s.Member:
		return unsafe("The database role %s is not %s, for which the policies are written.", s.Role, own)
	case s.Foreign:
		return unsafe("The database role %s opens both doors, of one workspace and of the system.", s.Role)
	}
	return nil
}
