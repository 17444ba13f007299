package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/trail"
)

// This file and incident.go are the only ones that go beyond one workspace: what the
// operator and pool runners do, and the server's own state. A test sees to it.

// system opens that door, for the reason given.
func (a *API) system(reason string) postgres.SystemDB { return a.DB.System(reason) }

func (a *API) workspaces(ctx context.Context, _ corp.Identity, in *PageInput) (*body[corp.List[corp.Workspace]], error) {
	return answerList(a.system("operator lists workspaces").Workspaces(ctx, in.page()))
}

// outbox opens the mails of the installation, for the reason given.
func (a *API) outbox(reason string) people.System { return people.New(a.DB.Door()).System(reason) }

// workspaceRequest mirrors client.WorkspaceRequest.
type workspaceRequest struct {
	Slug string `json:"slug" pattern:"^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$" patternDescription:"3 to 40 of a-z, 0-9 and dashes, with no dash at either end" doc:"3 to 40 of a-z, 0-9 and dashes."`
	Name string `json:"name,omitempty" maxLength:"80" doc:"For people; the slug when empty."`
	Plan string `json:"plan,omitempty" maxLength:"40" doc:"The installation's unlimited plan when empty."`
}

// newWorkspace mirrors client.NewWorkspace.
type newWorkspace struct {
	Workspace corp.Workspace `json:"workspace"`
	APIKey    corp.APIKey    `json:"api_key"`
	Key       string         `json:"key" doc:"The owner's key, shown this once."`
}

type createWorkspaceInput struct{ Body workspaceRequest }

func (a *API) createWorkspace(ctx context.Context, who corp.Identity, in *createWorkspaceInput) (*body[newWorkspace], error) {
	ask := in.Body
	if strings.TrimSpace(ask.Name) == "" {
		ask.Name = ask.Slug
	}
	if ask.Plan == "" {
		ask.Plan = "unlimited"
	}
	ws, err := a.system("operator creates a workspace").CreateWorkspace(ctx, who.Actor, ask.Slug, ask.Name, ask.Plan)
	if err != nil {
		return nil, err
	}
	if _, err := a.DB.In(ws.ID).CreateAgent(ctx, who.Actor, corp.FirstAgent()); err != nil {
		return nil, err
	}
	secret := corp.NewSecret(corp.KeyPrefixLive)
	key, err := a.DB.In(ws.ID).CreateAPIKey(ctx, who.Actor, newKey(who.Actor, "first owner", corp.RoleOwner, secret, nil), a.Ring.Hash(secret))
	if err != nil {
		return nil, err
	}
	return &body[newWorkspace]{newWorkspace{ws, key, secret}}, nil
}

// PricesInput narrows the price book.
type PricesInput struct {
	PageInput
	Vendor string `query:"vendor" maxLength:"60"`
	Model  string `query:"model" maxLength:"200" doc:"The vendor's exact name."`
}

// prices lists what is public: the price book holds nothing of any workspace.
func (a *API) prices(ctx context.Context, _ corp.Identity, in *PricesInput) (*body[corp.List[corp.Price]], error) {
	return answerList(a.system("list prices").PriceList(ctx, corp.PriceFilter{Vendor: in.Vendor, Model: in.Model}, in.page()))
}

type addPriceInput struct{ Body corp.PriceSpec }

func (a *API) addPrice(ctx context.Context, who corp.Identity, in *addPriceInput) (*body[corp.Price], error) {
	price, err := in.Body.Price(time.Now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return nil, err
	}
	door.Describe(ctx, price.Vendor+"/"+price.Model, nil)
	price.Source = "added by " + string(who.Actor)
	return answer(a.system("operator adds a price").AddPrice(ctx, price))
}

// enlist writes a runner down: a pool's with the installation, another with its workspace.
func (a *API) enlist(ctx context.Context, who corp.Identity, r corp.Registration) (corp.Runner, error) {
	if who.Workspace.IsZero() {
		return a.system("a pool runner registers").RegisterPoolRunner(ctx, who.Actor, r)
	}
	return a.DB.In(who.Workspace).RegisterRunner(ctx, who.Actor, r)
}

// ownPoolRunner returns what is written down of a pool runner, to its own key.
func (a *API) ownPoolRunner(ctx context.Context, who corp.Identity, id corp.RunnerID) (postgres.KnownRunner, error) {
	return a.system("a pool runner speaks").OwnPoolRunner(ctx, who.Actor, id)
}

// gateways returns where runners reach the gateways of all servers, this one's first.
func (a *API) gateways(ctx context.Context) []string {
	urls := []string{a.GatewayURL()}
	all, err := a.system("a runner registers").Gateways(ctx)
	if err != nil {
		a.Logger.WarnContext(ctx, "the other servers' gateways not read", "error", err)
	}
	for _, url := range all {
		if !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls
}

// whoLeads returns the leader's address and term.
func (a *API) whoLeads(ctx context.Context) (string, int64, error) {
	return a.system("pass on").Leader(ctx)
}

// plans lists what workspaces may pay for, which is the same for all.
func (a *API) plans(ctx context.Context) ([]corp.Plan, error) {
	return a.system("limits").Plans(ctx)
}

func (a *API) servers(ctx context.Context, _ corp.Identity, in *PageInput) (*body[corp.List[corp.Server]], error) {
	return answerList(a.system("operator lists servers").Servers(ctx, in.page()))
}

// renew renews leases across workspaces: each is proved by its own secret.
func (a *API) renew(ctx context.Context, runner corp.RunnerID, proofs []postgres.LeaseProof) ([]corp.Verdict, error) {
	if len(proofs) == 0 {
		return nil, nil
	}
	return a.system("a runner renews its leases").BeatLeases(ctx, runner, proofs, a.Times.TTL)
}

// seen notes that a runner lives, and now and then what it has free.
func (a *API) seen(ctx context.Context, who corp.Identity, runner corp.RunnerID, free int, draining bool) error {
	if a.runners.noted(runner, draining) {
		return nil
	}
	err := a.system("a runner was heard").TouchRunner(ctx, runner, who.Workspace, free, draining)
	if err == nil {
		a.runners.note(runner, draining)
	}
	return err
}

// logOf returns a workspace's audit log, or the installation's for the zero workspace.
func (a *API) logOf(ws corp.WorkspaceID) trail.Log { return trail.New(a.DB.Door()).Of(ws) }

func (a *API) installationAudit(ctx context.Context, _ corp.Identity, in *AuditInput) (*body[corp.List[corp.AuditEvent]], error) {
	return answerList(a.logOf(corp.WorkspaceID{}).Events(ctx, in.filter(), in.page()))
}

func (a *API) installationCheckpoint(ctx context.Context, _ corp.Identity, in *nothing) (*body[checkpointBody], error) {
	return a.auditCheckpoint(ctx, corp.Identity{}, in)
}

func (a *API) exportInstallationAudit(context.Context, corp.Identity, *nothing) (*huma.StreamResponse, error) {
	return a.streamAudit(corp.WorkspaceID{}), nil //nolint:contextcheck // the stream has the request's context
}

// erasePersonal erases what the logs of all workspaces say of a person's addresses.
func (a *API) erasePersonal(ctx context.Context, whose corp.Actor) (int, error) {
	return trail.New(a.DB.Door()).Erase(ctx, whose)
}

// counts is what /metrics shows of the installation.
func (a *API) counts(ctx context.Context) (postgres.Counts, error) {
	return a.system("metrics").Counts(ctx)
}

// checkParts asks the parts that the server cannot do without.
func (a *API) checkParts(ctx context.Context) readyBody {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	database := readyPart{Name: "database", OK: true}
	if err := a.DB.Ping(ctx); err != nil {
		database = readyPart{Name: "database", Detail: "The database does not answer."}
		a.Logger.WarnContext(ctx, "not ready", "error", err)
	}
	// The server does not start on a schema that is not its own, and migrations only go forward.
	schema := readyPart{Name: "schema", OK: true, Detail: "Checked at start."}
	leader := readyPart{Name: "leader", OK: true}
	if !a.Dispatcher.Leading() {
		if address, _, err := a.system("readiness").Leader(ctx); err != nil || address == "" {
			leader = readyPart{Name: "leader", Detail: "No server hands out work at the moment."}
		}
	}
	parts := []readyPart{database, schema, leader}
	return readyBody{Ready: database.OK && leader.OK, Parts: parts}
}

// myWorkspaceRequest mirrors client.MyWorkspaceRequest.
type myWorkspaceRequest struct {
	Slug string `json:"slug" minLength:"3" maxLength:"40" doc:"Short name: a-z, 0-9 and dashes."`
	Name string `json:"name,omitempty" maxLength:"80" doc:"For people; the short one, when left out."`
}

type foundWorkspaceInput struct{ Body myWorkspaceRequest }

// foundWorkspace makes a tenant for whoever is signed in, where everybody may make
// an account, with the agent that every workspace starts with. Under a public address
// it begins with the smallest plan, on a laptop without limits.
func (a *API) foundWorkspace(ctx context.Context, who corp.Identity, in *foundWorkspaceInput) (*body[corp.Workspace], error) {
	if a.Identity == nil || !a.Identity.SignUp {
		return nil, &corp.Error{Kind: corp.KindForbidden, Code: "sign_up_closed", Message: "Workspaces are made by the operator here.", Hint: "Ask whoever runs this installation: corp workspace create."}
	}
	plan := "unlimited"
	if a.Edge.Public != nil {
		plan = "free"
	}
	name := in.Body.Name
	if name == "" {
		name = in.Body.Slug
	}
	ws, err := a.system("a person founds a workspace").FoundWorkspace(ctx, who.User, in.Body.Slug, name, plan)
	if err != nil {
		return nil, err
	}
	_, err = a.DB.In(ws.ID).CreateAgent(ctx, who.Actor, corp.FirstAgent())
	return answer(ws, err)
}
