package corp

import (
	"net/netip"
	"slices"
)

// Role is what a credential may do in its workspace. Each role may do all that
// the one below may.
type Role string

// The roles of people and keys, from the least to the most.
const (
	RoleViewer Role = "viewer"
	RoleMember Role = "member"
	RoleAdmin  Role = "admin"
	RoleOwner  Role = "owner"
)

// The roles that are not on that ladder: each may do its own closed list of
// actions and nothing else.
const (
	RoleRunner   Role = "runner"   // a process that carries out runs
	RoleRun      Role = "run"      // the agent of one run: model calls only
	RoleOperator Role = "operator" // runs the installation; sees no workspace's contents
)

// Action is something an operation of the API does. Every operation names
// exactly one, and Roles says who may.
type Action string

// The actions.
const (
	WorkspaceRead   Action = "workspace.read"
	WorkspaceWrite  Action = "workspace.write"  // its budget and limits
	WorkspaceManage Action = "workspace.manage" // create, list and suspend workspaces of the installation
	AgentRead       Action = "agent.read"
	AgentWrite      Action = "agent.write"
	RepositoryRead  Action = "repository.read"
	RepositoryWrite Action = "repository.write"
	ProviderRead    Action = "provider.read"
	ProviderWrite   Action = "provider.write"
	PriceRead       Action = "price.read"
	PriceWrite      Action = "price.write" // of the installation's price book
	TaskRead        Action = "task.read"
	TaskWrite       Action = "task.write" // submit, cancel, retry
	ScheduleRead    Action = "schedule.read"
	ScheduleWrite   Action = "schedule.write" // and submit its task now
	UsageRead       Action = "usage.read"
	APIKeyWrite     Action = "apikey.write" // everybody's, and the workspace's own
	RunnerRead      Action = "runner.read"
	RunnerWrite     Action = "runner.write" // retire a runner; make the key of one, with apikey.write
	RunnerLease     Action = "runner.lease" // the runner protocol
	ModelCall       Action = "model.call"
	ServerRead      Action = "server.read" // the servers of the installation
	MemberRead      Action = "member.read"
	MemberWrite     Action = "member.write"  // invite, change roles, remove; nobody above one's own role
	WorkspaceOwn    Action = "workspace.own" // hand it over, delete it
	APIKeyOwn       Action = "apikey.own"    // one's own keys
	AuditRead       Action = "audit.read"
	UserManage      Action = "user.manage"  // of the installation: people, their sessions and keys, mail
	AuditManage     Action = "audit.manage" // the installation's own log
)

// least is the one table of roles: the lowest role on the ladder that may.
var least = map[Action]Role{
	WorkspaceRead: RoleViewer, WorkspaceWrite: RoleAdmin,
	AgentRead: RoleViewer, AgentWrite: RoleMember,
	RepositoryRead: RoleViewer, RepositoryWrite: RoleMember,
	ProviderRead: RoleViewer, ProviderWrite: RoleAdmin,
	PriceRead: RoleViewer,
	TaskRead:  RoleViewer, TaskWrite: RoleMember,
	ScheduleRead: RoleViewer, ScheduleWrite: RoleMember,
	UsageRead:   RoleViewer,
	APIKeyWrite: RoleAdmin,
	RunnerRead:  RoleViewer, RunnerWrite: RoleAdmin,
	MemberRead: RoleViewer, MemberWrite: RoleAdmin,
	WorkspaceOwn: RoleOwner,
	APIKeyOwn:    RoleMember,
	AuditRead:    RoleAdmin,
}

// special is the rest of that table: the roles that are not on the ladder.
var special = map[Role][]Action{
	RoleRunner:   {RunnerLease},
	RoleRun:      {ModelCall},
	RoleOperator: {WorkspaceManage, ServerRead, PriceWrite, UserManage, AuditManage},
}

var ladder = map[Role]int{RoleViewer: 1, RoleMember: 2, RoleAdmin: 3, RoleOwner: 4}

// May says whether the role allows the action. An action or role that is not in
// the table is never allowed.
func (r Role) May(a Action) bool {
	if slices.Contains(special[r], a) {
		return true
	}
	floor, ok := ladder[least[a]]
	return ok && ladder[r] >= floor
}

// Actions lists what the role may do, by name.
func (r Role) Actions() []Action {
	all := slices.Clone(special[r])
	for a := range least {
		if r.May(a) {
			all = append(all, a)
		}
	}
	slices.Sort(all)
	return all
}

// AtMost says whether the role is one of the ladder's and not above other:
// nobody hands out more than they have.
func (r Role) AtMost(other Role) bool { return ladder[r] > 0 && ladder[r] <= ladder[other] }

// Roles lists all roles, for the tests that walk the table.
func Roles() []Role {
	return []Role{RoleViewer, RoleMember, RoleAdmin, RoleOwner, RoleRunner, RoleRun, RoleOperator}
}

// Actor says who did something, as it stands in created_by: the prefixed id of
// a key, a user, a run, a runner or an operator, or "system".
type Actor string

// ActorSystem is the installation itself: reconcile loops and start-up.
const ActorSystem Actor = "system"

// ActorUnknown is somebody who has not said who they are, and need not: who
// registers, or forgot a password.
const ActorUnknown Actor = "unknown"

// Identity is who is calling: a credential, its role and, unless it is the
// operator's or a pool runner's, its workspace. It comes from the credential
// alone; nothing in a request can change it.
type Identity struct {
	Workspace WorkspaceID
	Actor     Actor          // the person, or the key when it is nobody's
	Via       Actor          // the key or session itself
	User      UserID         // the person; zero for a key that is nobody's
	Session   SessionID      // zero for a key
	Role      Role           // in the workspace; empty for a person who is in none
	Scopes    []Action       // what the key is narrowed to; nil is all that the role may
	Addresses []netip.Prefix // where the key may come from; nil is anywhere
	Plan      string         // of the workspace
	Slug      string         // of the workspace
	Name      string         // of the key or person, for people
	Suspended bool           // the workspace is, by the operator: nobody may do anything in it
	Runner    string         // non-empty for a runner's credential: "pool" or "workspace"
}

// May says whether the role allows the action, the key is not narrowed to others, and
// the workspace not suspended.
func (i Identity) May(a Action) bool {
	return !i.Suspended && i.Role.May(a) && (i.Scopes == nil || slices.Contains(i.Scopes, a))
}
