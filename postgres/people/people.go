// Package people holds the SQL of people: who they are, what signs them in, and in
// which workspaces they are members.
//
// A person's own rows are behind the person's door, a workspace's members and
// invitations behind the workspace's. What is asked before anybody is known goes
// through the look-ups, one secret or one address at a time. A method is one
// transaction. Secrets come here hashed or sealed and never in the clear; whether
// a password is right, and how often somebody may try, is decided elsewhere
// (package identity).
package people

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/hint"
)

// Store is people's rows. It is safe for concurrent use.
type Store struct{ door *door.DB }

// New returns the rows of people behind a database's doors.
func New(db *door.DB) *Store { return &Store{db} }

// Person is the door to one person's own rows.
type Person struct{ door door.User }

// Of returns the door to a person. With the zero user every method returns an
// internal error.
func (s *Store) Of(id corp.UserID) Person { return Person{s.door.User(id)} }

// Workspace is the door to the people of one workspace.
type Workspace struct {
	door door.Workspace
	via  corp.Actor           // the key or session that asks
	may  func(corp.Role) bool // give that role; nil: every one
}

// In returns the door to the people of a workspace. With the zero workspace every
// method returns an internal error.
func (s *Store) In(ws corp.WorkspaceID) Workspace { return Workspace{door: s.door.In(ws)} }

// For is the door for somebody who comes with a key or session and may not give every
// role: what somebody is invited as, they take back only where they may give it.
func (w Workspace) For(via corp.Actor, may func(corp.Role) bool) Workspace {
	w.via, w.may = via, may
	return w
}

// System is the door to what concerns all people of the installation.
type System struct{ door door.System }

// System returns the door to what concerns all people. The reason is for the
// database's own log.
func (s *Store) System(reason string) System { return System{s.door.System(reason)} }

// changed tells every server to ask again who the person is.
func (p Person) changed(tx pgx.Tx) { door.Say(tx, hint.Notice{Kind: hint.Access, User: p.door.ID}) }

// changed tells every server to ask again who may do what in the workspace.
func (w Workspace) changed(tx pgx.Tx) {
	door.Say(tx, hint.Notice{Kind: hint.Access, Workspace: w.door.ID})
}

// queueAnew has the leader read the queues of workspaces that go out of use or come
// into it again: else it hands their runs out, or keeps them, until it looks again.
func queueAnew(tx pgx.Tx, of ...corp.WorkspaceID) {
	for _, ws := range of {
		door.Say(tx, hint.Notice{Kind: hint.Limits, Workspace: ws})
	}
}

func milliseconds(d time.Duration) int64 { return d.Milliseconds() }
