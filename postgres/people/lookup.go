package people

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Account is what signing in needs to know of the owner of an address.
type Account struct {
	ID           corp.UserID `db:"user_id"`
	Email        string
	Name         string
	PasswordHash string // empty: none
	TOTP         []byte `db:"totp_secret"` // sealed; nil without a second factor
	TOTPStep     int64  `db:"totp_step"`   // the newest that was used
	Disabled     bool
	Leaving      bool // deletion was asked for; signing in takes it back
}

// ByEmail returns whose an address is. Letter case does not count.
func (s *Store) ByEmail(ctx context.Context, email string) (Account, bool, error) {
	return door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[Account], `
		SELECT user_id, email, name, coalesce(password_hash, '') AS password_hash, totp_secret, totp_step, disabled, leaving FROM auth_email($1)`, email)
}

// ByIdentity returns whom an OIDC issuer calls by this subject.
func (s *Store) ByIdentity(ctx context.Context, issuer, subject string) (Account, bool, error) {
	type owner struct {
		UserID corp.UserID
		Email  string
	}
	found, ok, err := door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[owner], `SELECT user_id, email FROM auth_identity($1, $2)`, issuer, subject)
	if err != nil || !ok {
		return Account{}, false, err
	}
	account, ok, err := s.ByEmail(ctx, found.Email)
	if account.ID != found.UserID { // the address has changed hands in between
		return Account{}, false, err
	}
	return account, ok, err
}

// SignedIn is who a session is.
type SignedIn struct {
	corp.Identity
	Kind    corp.SessionKind
	AuthAge time.Duration // since they last proved who they are
	SeenAge time.Duration // since the session was last noted to be in use
}

// BySession returns who a command line's session is. One that has ended, or whose
// owner may not sign in, is unauthenticated.
func (s *Store) BySession(ctx context.Context, id corp.SessionID) (SignedIn, error) {
	return s.signedIn(ctx, id, nil)
}

// ByCookie returns who a browser's session is, by the hash of its cookie.
func (s *Store) ByCookie(ctx context.Context, hash []byte) (SignedIn, error) {
	return s.signedIn(ctx, corp.SessionID{}, hash)
}

func (s *Store) signedIn(ctx context.Context, id corp.SessionID, cookie []byte) (SignedIn, error) {
	type row struct {
		UserID      corp.UserID
		SessionID   corp.SessionID
		Kind        corp.SessionKind
		Name        string
		AuthAgeMS   int64 `db:"auth_age_ms"`
		SeenAgeMS   int64 `db:"seen_age_ms"`
		WorkspaceID corp.WorkspaceID
		Role        *corp.Role
		Plan, Slug  *string
		Suspended   bool
	}
	found, ok, err := door.LookUp(ctx, s.door.Auth(), pgx.RowToStructByName[row], `
		SELECT user_id, session_id, kind, name, auth_age_ms, seen_age_ms, workspace_id, role, plan, slug, suspended FROM auth_session($1, $2)`, id, cookie)
	if err != nil {
		return SignedIn{}, err
	}
	if !ok {
		return SignedIn{}, signedOut()
	}
	who := SignedIn{Kind: found.Kind, AuthAge: time.Duration(found.AuthAgeMS) * time.Millisecond, SeenAge: time.Duration(found.SeenAgeMS) * time.Millisecond}
	who.Identity = corp.Identity{
		Workspace: found.WorkspaceID, Actor: corp.Actor(found.UserID.String()), Via: corp.Actor(found.SessionID.String()),
		User: found.UserID, Session: found.SessionID, Name: found.Name, Suspended: found.Suspended,
	}
	if found.Role != nil {
		who.Role, who.Plan, who.Slug = *found.Role, *found.Plan, *found.Slug
	}
	return who, nil
}

func signedOut() error {
	return &corp.Error{Kind: corp.KindUnauthenticated, Code: "signed_out", Message: "You are not signed in any more.", Hint: "Sign in again."}
}
