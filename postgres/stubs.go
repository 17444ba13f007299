package postgres

import (
	"context"
	"time"

	"github.com/genericcorp/corp"
)

// Prepare x.
func Prepare(ctx context.Context, adminURL string, logins map[string]string) error { panic("stub") }

// Migrate x.
func Migrate(ctx context.Context, adminURL string) (from, to int64, err error) { panic("stub") }

// Open x.
func Open(ctx context.Context, c Config) (*DB, error) { panic("stub") }

// Close x.
func (db *DB) Close() { panic("stub") }

// Ping x.
func (db *DB) Ping(ctx context.Context) error { panic("stub") }

// Listen x.
func (db *DB) Listen(ctx context.Context, fn func(Notice)) error { panic("stub") }

// Key x.
func (a AuthDB) Key(ctx context.Context, hash []byte) (corp.Identity, error) { panic("stub") }

// Run x.
func (a AuthDB) Run(ctx context.Context, runKeyHash []byte) (RunIdentity, error) { panic("stub") }

// Lease x.
func (a AuthDB) Lease(ctx context.Context, run corp.RunID, secretHash []byte) (LeaseIdentity, error) {
	panic("stub")
}

// Workspace x.
func (w WorkspaceDB) Workspace(ctx context.Context) (corp.Workspace, error) { panic("stub") }

// UpdateWorkspace x.
func (w WorkspaceDB) UpdateWorkspace(ctx context.Context, actor corp.Actor, u corp.WorkspaceUpdate) (corp.Workspace, error) {
	panic("stub")
}

// CreateAPIKey x.
func (w WorkspaceDB) CreateAPIKey(ctx context.Context, actor corp.Actor, key corp.APIKey, hash []byte) (corp.APIKey, error) {
	panic("stub")
}

// APIKeys x.
func (w WorkspaceDB) APIKeys(ctx context.Context, p corp.Page) (corp.List[corp.APIKey], error) {
	panic("stub")
}

// RevokeAPIKey x.
func (w WorkspaceDB) RevokeAPIKey(ctx context.Context, actor corp.Actor, id corp.APIKeyID) (corp.APIKey, error) {
	panic("stub")
}

// TouchAPIKeys x.
func (w WorkspaceDB) TouchAPIKeys(ctx context.Context, used map[corp.APIKeyID]time.Time) error {
	panic("stub")
}

// CreateAgent x.
func (w WorkspaceDB) CreateAgent(ctx context.Context, actor corp.Actor, spec corp.AgentSpec) (corp.Agent, error) {
	panic("stub")
}

// UpdateAgent x.
func (w WorkspaceDB) UpdateAgent(ctx context.Context, actor corp.Actor, id corp.AgentID, spec corp.AgentSpec) (corp.Agent, error) {
	panic("stub")
}

// ArchiveAgent x.
func (w WorkspaceDB) ArchiveAgent(ctx context.Context, actor corp.Actor, id corp.AgentID) (corp.Agent, error) {
	panic("stub")
}

// Agent x.
func (w WorkspaceDB) Agent(ctx context.Context, nameOrID string) (corp.Agent, error) { panic("stub") }

// AgentVersion x.
func (w WorkspaceDB) AgentVersion(ctx context.Context, id corp.AgentID, version int) (corp.Agent, error) {
	panic("stub")
}

// Agents x.
func (w WorkspaceDB) Agents(ctx context.Context, p corp.Page) (corp.List[corp.Agent], error) {
	panic("stub")
}

// CreateRepository x.
func (w WorkspaceDB) CreateRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID, spec corp.RepositorySpec, sealedCredential []byte) (corp.Repository, error) {
	panic("stub")
}

// Repository x.
func (w WorkspaceDB) Repository(ctx context.Context, id corp.RepositoryID) (corp.Repository, error) {
	panic("stub")
}

// Repositories x.
func (w WorkspaceDB) Repositories(ctx context.Context, p corp.Page) (corp.List[corp.Repository], error) {
	panic("stub")
}

// ArchiveRepository x.
func (w WorkspaceDB) ArchiveRepository(ctx context.Context, actor corp.Actor, id corp.RepositoryID) (corp.Repository, error) {
	panic("stub")
}

// RepositoryCredential x.
func (w WorkspaceDB) RepositoryCredential(ctx context.Context, id corp.RepositoryID) (sealed []byte, err error) {
	panic("stub")
}

// CreateProvider x.
func (w WorkspaceDB) CreateProvider(ctx context.Context, actor corp.Actor, id corp.ProviderID, spec corp.ProviderSpec, sealedKey []byte) (corp.Provider, error) {
	panic("stub")
}

// UpdateProvider x.
func (w WorkspaceDB) UpdateProvider(ctx context.Context, actor corp.Actor, id corp.ProviderID, spec corp.ProviderSpec, sealedKey []byte) (corp.Provider, error) {
	panic("stub")
}

// Providers x.
func (w WorkspaceDB) Providers(ctx context.Context, p corp.Page) (corp.List[corp.Provider], error) {
	panic("stub")
}

// ArchiveProvider x.
func (w WorkspaceDB) ArchiveProvider(ctx context.Context, actor corp.Actor, id corp.ProviderID) (corp.Provider, error) {
	panic("stub")
}

// ResolveProvider x.
func (w WorkspaceDB) ResolveProvider(ctx context.Context, name string) (p corp.Provider, sealedKey []byte, keyEnv string, err error) {
	panic("stub")
}

// CreateBlob x.
func (w WorkspaceDB) CreateBlob(ctx context.Context, actor corp.Actor, blob corp.Blob) (corp.Blob, error) {
	panic("stub")
}

// Blob x.
func (w WorkspaceDB) Blob(ctx context.Context, id corp.BlobID) (corp.Blob, error) { panic("stub") }

// SubmitTask x.
func (w WorkspaceDB) SubmitTask(ctx context.Context, actor corp.Actor, spec corp.TaskSpec, idem Idempotency) (task corp.Task, replayed bool, err error) {
	panic("stub")
}

// Task x.
func (w WorkspaceDB) Task(ctx context.Context, id corp.TaskID) (corp.Task, error) { panic("stub") }

// Tasks x.
func (w WorkspaceDB) Tasks(ctx context.Context, f corp.TaskFilter, p corp.Page) (corp.List[corp.Task], error) {
	panic("stub")
}

// CancelTask x.
func (w WorkspaceDB) CancelTask(ctx context.Context, actor corp.Actor, id corp.TaskID) (corp.Task, error) {
	panic("stub")
}

// RetryTask x.
func (w WorkspaceDB) RetryTask(ctx context.Context, actor corp.Actor, id corp.TaskID) (corp.Task, error) {
	panic("stub")
}

// Run x.
func (w WorkspaceDB) Run(ctx context.Context, id corp.RunID) (corp.Run, error) { panic("stub") }

// Runs x.
func (w WorkspaceDB) Runs(ctx context.Context, task corp.TaskID, p corp.Page) (corp.List[corp.Run], error) {
	panic("stub")
}

// OfferFor x.
func (w WorkspaceDB) OfferFor(ctx context.Context, run corp.RunID, epoch int64) (offer corp.Offer, sealedCredential []byte, err error) {
	panic("stub")
}

// AckRun x.
func (w WorkspaceDB) AckRun(ctx context.Context, run corp.RunID, epoch int64) error { panic("stub") }

// ReleaseRun x.
func (w WorkspaceDB) ReleaseRun(ctx context.Context, run corp.RunID, epoch int64, detail string) error {
	panic("stub")
}

// AppendEntries x.
func (w WorkspaceDB) AppendEntries(ctx context.Context, run corp.RunID, epoch int64, entries []corp.Entry) (next int64, err error) {
	panic("stub")
}

// NextEntry x.
func (w WorkspaceDB) NextEntry(ctx context.Context, run corp.RunID) (int64, error) { panic("stub") }

// FinishRun x.
func (w WorkspaceDB) FinishRun(ctx context.Context, run corp.RunID, epoch int64, o corp.Outcome) (corp.Run, error) {
	panic("stub")
}

// StopRun x.
func (w WorkspaceDB) StopRun(ctx context.Context, run corp.RunID, reason corp.Reason, detail string) error {
	panic("stub")
}

// LoseRun x.
func (w WorkspaceDB) LoseRun(ctx context.Context, run corp.RunID, epoch int64) error { panic("stub") }

// RequeueRun x.
func (w WorkspaceDB) RequeueRun(ctx context.Context, run corp.RunID, epoch int64) error {
	panic("stub")
}

// ExpireRun x.
func (w WorkspaceDB) ExpireRun(ctx context.Context, run corp.RunID, epoch int64) error {
	panic("stub")
}

// Entries x.
func (w WorkspaceDB) Entries(ctx context.Context, run corp.RunID, after int64, limit int) ([]corp.Entry, error) {
	panic("stub")
}

// Events x.
func (w WorkspaceDB) Events(ctx context.Context, after int64, limit int) ([]corp.Event, error) {
	panic("stub")
}

// LastEvent x.
func (w WorkspaceDB) LastEvent(ctx context.Context) (int64, error) { panic("stub") }

// Budgets x.
func (w WorkspaceDB) Budgets(ctx context.Context, task corp.TaskID) ([]corp.Budget, error) {
	panic("stub")
}

// GrantAllowance x.
func (w WorkspaceDB) GrantAllowance(ctx context.Context, server corp.ServerID, task corp.TaskID, least, most corp.Nanodollars) ([]Grant, error) {
	panic("stub")
}

// ReturnAllowance x.
func (w WorkspaceDB) ReturnAllowance(ctx context.Context, allowance corp.AllowanceID, amount corp.Nanodollars) error {
	panic("stub")
}

// CloseAllowance x.
func (w WorkspaceDB) CloseAllowance(ctx context.Context, allowance corp.AllowanceID, unresolved *corp.Call) error {
	panic("stub")
}

// OpenAllowances x.
func (w WorkspaceDB) OpenAllowances(ctx context.Context, server corp.ServerID) ([]corp.Allowance, error) {
	panic("stub")
}

// RecordCalls x.
func (w WorkspaceDB) RecordCalls(ctx context.Context, calls []CallRecord) error { panic("stub") }

// Calls x.
func (w WorkspaceDB) Calls(ctx context.Context, f CallFilter, p corp.Page) (corp.List[corp.Call], error) {
	panic("stub")
}

// Usage x.
func (w WorkspaceDB) Usage(ctx context.Context, f UsageFilter) ([]corp.UsageTotal, error) {
	panic("stub")
}

// RegisterRunner x.
func (w WorkspaceDB) RegisterRunner(ctx context.Context, actor corp.Actor, r corp.Registration) (corp.Runner, error) {
	panic("stub")
}

// Runners x.
func (w WorkspaceDB) Runners(ctx context.Context, p corp.Page) (corp.List[corp.Runner], error) {
	panic("stub")
}

// CreateWorkspace x.
func (s SystemDB) CreateWorkspace(ctx context.Context, actor corp.Actor, slug, name, plan string) (corp.Workspace, error) {
	panic("stub")
}

// Workspaces x.
func (s SystemDB) Workspaces(ctx context.Context, p corp.Page) (corp.List[corp.Workspace], error) {
	panic("stub")
}

// CreateOperatorKey x.
func (s SystemDB) CreateOperatorKey(ctx context.Context, id corp.OperatorID, name string, role corp.Role, prefix string, hash []byte) error {
	panic("stub")
}

// RevokeOperatorKey x.
func (s SystemDB) RevokeOperatorKey(ctx context.Context, id corp.OperatorID) error { panic("stub") }

// SetInstallationProviders x.
func (s SystemDB) SetInstallationProviders(ctx context.Context, providers []InstallationProvider) error {
	panic("stub")
}

// SeedPrices x.
func (s SystemDB) SeedPrices(ctx context.Context, prices []corp.Price) (added int, err error) {
	panic("stub")
}

// Prices x.
func (s SystemDB) Prices(ctx context.Context) ([]corp.Price, error) { panic("stub") }

// RegisterServer x.
func (s SystemDB) RegisterServer(ctx context.Context, id corp.ServerID, address, version string) error {
	panic("stub")
}

// TouchServer x.
func (s SystemDB) TouchServer(ctx context.Context, id corp.ServerID) error { panic("stub") }

// DeadServers x.
func (s SystemDB) DeadServers(ctx context.Context, silentFor time.Duration) ([]corp.ServerID, error) {
	panic("stub")
}

// OpenAllowances x.
func (s SystemDB) OpenAllowances(ctx context.Context, server corp.ServerID) ([]AllowanceRef, error) {
	panic("stub")
}

// RegisterPoolRunner x.
func (s SystemDB) RegisterPoolRunner(ctx context.Context, actor corp.Actor, r corp.Registration) (corp.Runner, error) {
	panic("stub")
}

// TouchRunner x.
func (s SystemDB) TouchRunner(ctx context.Context, runner corp.RunnerID, ws corp.WorkspaceID, free int, draining bool) error {
	panic("stub")
}

// TakeLeadership x.
func (s SystemDB) TakeLeadership(ctx context.Context, server corp.ServerID, address string, ttl time.Duration) (term int64, ok bool, err error) {
	panic("stub")
}

// RenewLeadership x.
func (s SystemDB) RenewLeadership(ctx context.Context, server corp.ServerID, term int64, ttl time.Duration) (ok bool, err error) {
	panic("stub")
}

// Resign x.
func (s SystemDB) Resign(ctx context.Context, server corp.ServerID, term int64) error { panic("stub") }

// Leader x.
func (s SystemDB) Leader(ctx context.Context) (address string, term int64, err error) { panic("stub") }

// Queue x.
func (s SystemDB) Queue(ctx context.Context) ([]QueuedRun, error) { panic("stub") }

// Leased x.
func (s SystemDB) Leased(ctx context.Context) ([]LeasedRun, error) { panic("stub") }

// Limits x.
func (s SystemDB) Limits(ctx context.Context) (map[corp.WorkspaceID]int, error) { panic("stub") }

// ClaimRuns x.
func (s SystemDB) ClaimRuns(ctx context.Context, server corp.ServerID, term int64, claims []Claim) (claimed []corp.RunID, err error) {
	panic("stub")
}

// BeatLeases x.
func (s SystemDB) BeatLeases(ctx context.Context, runner corp.RunnerID, proofs []LeaseProof, ttl time.Duration) ([]corp.Verdict, error) {
	panic("stub")
}

// ExtendLeases x.
func (s SystemDB) ExtendLeases(ctx context.Context, term int64, ttl time.Duration) (n int, err error) {
	panic("stub")
}

// ExpiredOffers x.
func (s SystemDB) ExpiredOffers(ctx context.Context) ([]RunRef, error) { panic("stub") }

// ExpiredLeases x.
func (s SystemDB) ExpiredLeases(ctx context.Context, margin time.Duration) ([]RunRef, error) {
	panic("stub")
}

// OverdueRuns x.
func (s SystemDB) OverdueRuns(ctx context.Context, grace time.Duration) ([]RunRef, error) {
	panic("stub")
}

// EnsurePartitions x.
func (s SystemDB) EnsurePartitions(ctx context.Context, from time.Time, months int) (made int, err error) {
	panic("stub")
}

// DropIdempotencyKeys x.
func (s SystemDB) DropIdempotencyKeys(ctx context.Context, olderThan time.Duration) (n int, err error) {
	panic("stub")
}

// Counts x.
func (s SystemDB) Counts(ctx context.Context) (Counts, error) { panic("stub") }
