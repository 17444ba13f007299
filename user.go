package corp

import "time"

// User is a person. A person may be a member of several workspaces, and belongs
// to none of them: what is theirs alone is in no workspace.
type User struct {
	ID           UserID     `json:"id"`
	Email        string     `json:"email"` // verified; lower case
	Name         string     `json:"name"`
	Password     bool       `json:"password"`      // one is set; false for who signs in through a provider only
	SecondFactor bool       `json:"second_factor"` // a one-time code is asked for at sign-in
	CreatedAt    time.Time  `json:"created_at"`
	DisabledAt   *time.Time `json:"disabled_at,omitempty"`  // by the operator
	DeleteAfter  *time.Time `json:"delete_after,omitempty"` // asked for deletion; until then signing in takes it back
}

// Person is a user as the operator sees them.
type Person struct {
	ID          UserID     `json:"id"`
	Email       string     `json:"email"`
	Name        string     `json:"name"`
	DisabledAt  *time.Time `json:"disabled_at,omitempty"`  // they are kept out
	DeleteAfter *time.Time `json:"delete_after,omitempty"` // they asked for deletion
}

// SignedOut is how many sessions ended, for one person or for everybody.
type SignedOut struct {
	Sessions int64 `json:"sessions"`
}

// Member is a user in a workspace.
type Member struct {
	UserID    UserID    `json:"user_id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	CreatedBy Actor     `json:"created_by"` // who invited them
	CreatedAt time.Time `json:"created_at"`
}

// Membership is the same, seen by the user.
type Membership struct {
	WorkspaceID WorkspaceID `json:"workspace_id"`
	Slug        string      `json:"slug"`
	Name        string      `json:"name"`
	Role        Role        `json:"role"`
	DeleteAfter *time.Time  `json:"delete_after,omitempty"` // the workspace is being deleted; an owner may restore it until then
	SuspendedAt *time.Time  `json:"suspended_at,omitempty"` // by the operator: nobody can work in it
}

// Invitation asks somebody into a workspace. Its secret goes out by mail, once.
type Invitation struct {
	ID         InvitationID `json:"id"`
	Email      string       `json:"email"`
	Role       Role         `json:"role"`
	CreatedBy  Actor        `json:"created_by"`
	CreatedAt  time.Time    `json:"created_at"`
	ExpiresAt  time.Time    `json:"expires_at"`
	AcceptedAt *time.Time   `json:"accepted_at,omitempty"`
	RevokedAt  *time.Time   `json:"revoked_at,omitempty"`
}

// SessionKind is what is signed in.
type SessionKind string

// The kinds of sessions.
const (
	SessionBrowser SessionKind = "browser" // a cookie
	SessionCLI     SessionKind = "cli"     // an access and a refresh credential
)

// Session is a signed-in browser or command line.
type Session struct {
	ID          SessionID   `json:"id"`
	Kind        SessionKind `json:"kind"`
	WorkspaceID WorkspaceID `json:"workspace_id,omitzero"` // the one it works in
	Address     string      `json:"address"`               // it came from, at its making
	UserAgent   string      `json:"user_agent"`
	CreatedAt   time.Time   `json:"created_at"`
	SeenAt      time.Time   `json:"seen_at"` // to the minute
	ExpiresAt   time.Time   `json:"expires_at"`
	Current     bool        `json:"current"` // it is the one that asks
}
