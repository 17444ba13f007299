package schema

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgerr"
)

// The roles as which servers connect, one for each door. The policies and grants
// of the migrations are written for them.
const (
	RoleApp    = "corp_app"
	RoleSystem = "corp_system"

	roleAuth = "corp_auth"
)

// Prepare makes the roles that the migrations and the server need, as far as they
// are missing: corp_app and corp_system, which log in and may do nothing that
// leads past row-level security, and corp_auth, which cannot log in. logins maps
// the first two to their passwords; "" leaves a password as it is. adminURL must
// be allowed to create roles; it must not go through a pooler. Running it again
// changes nothing but the passwords.
func Prepare(ctx context.Context, adminURL string, logins map[string]string) error {
	for role, password := range logins {
		if role != RoleApp && role != RoleSystem {
			return corp.Invalid("logins", "The role "+role+" is not one of the server's.", "Only corp_app and corp_system log in.")
		}
		if !plainASCII(password) {
			return corp.Invalid("logins", "The password of "+role+" has characters other than plain ASCII.", "Use letters, digits and punctuation.")
		}
	}
	conn, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return connectError(ctx, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(`+migrationLock+`)`); err != nil {
			return err
		}
		for _, role := range []string{RoleApp, RoleSystem, roleAuth} {
			if err := ensureRole(ctx, tx, role, logins[role]); err != nil {
				return fmt.Errorf("make role %s: %w", role, err)
			}
		}
		return grantRoles(ctx, tx)
	})
	return pgerr.Translate(ctx, err)
}

func plainASCII(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(b byte) bool { return b < ' ' || b > '~' })
}

func ensureRole(ctx context.Context, tx pgx.Tx, role, password string) error {
	login := "LOGIN"
	if role == roleAuth {
		login = "NOLOGIN"
	}
	var exists, right bool
	err := tx.QueryRow(ctx, `
		SELECT count(*) = 1, coalesce(bool_and(rolcanlogin = $2 AND NOT (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)), false)
		FROM pg_roles WHERE rolname = $1`, role, login == "LOGIN").Scan(&exists, &right)
	if err != nil {
		return err
	}
	switch {
	case !exists:
		_, err = tx.Exec(ctx, `CREATE ROLE `+role+` `+login) // nothing else is the default
	case !right:
		// Only a superuser may say NOSUPERUSER, so it is said only where it is needed.
		_, err = tx.Exec(ctx, `ALTER ROLE `+role+` `+login+` NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION`)
	}
	if err != nil || password == "" {
		return err
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // crypto/rand.Read never fails
	verifier, err := scramVerifier(password, salt)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `ALTER ROLE `+role+` PASSWORD '`+verifier+`'`)
	return err
}

// grantRoles lets the roles connect, and lets whoever migrates hand the look-ups
// to corp_auth: the database's owner, and the administrator itself.
func grantRoles(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		DO $$
		DECLARE migrator text;
		BEGIN
			EXECUTE format('GRANT CONNECT ON DATABASE %I TO corp_app, corp_system', current_database());
			FOR migrator IN
				SELECT r.rolname FROM pg_roles r
				WHERE NOT r.rolsuper AND NOT pg_has_role(r.oid, 'corp_auth', 'SET')
					AND (r.rolname = current_user OR r.oid = (SELECT datdba FROM pg_database WHERE datname = current_database()))
			LOOP
				EXECUTE format('GRANT corp_auth TO %I', migrator);
			END LOOP;
		END $$`)
	return err
}

// scramVerifier hashes a password the way the server would (RFC 5803), so that
// the password itself never stands in a statement that the server may log.
func scramVerifier(password string, salt []byte) (string, error) {
	const rounds = 4096
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

// connectError hides the cause of a connection string that cannot be read, which
// would show the password.
func connectError(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return corp.Invalid("admin_url", "The administrator's connection string cannot be read.", "Write it like postgres://USER:PASSWORD@HOST:5432/DATABASE.")
	}
	return pgerr.Translate(ctx, err)
}
