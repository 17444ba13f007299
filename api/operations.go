package api

import (
	"net/http"

	"github.com/genericcorp/corp"
)

// operations is the API. To add one, add a row here and a handler in the file of
// its noun; the tests that walk this table find it by themselves.
var operations = []operation{
	{id: "health", route: "GET /health", action: public, tag: "server", summary: "The process lives", handle: with((*API).health)},
	{id: "ready", route: "GET /ready", action: public, tag: "server", summary: "The server can do its work", handle: with((*API).readyParts)},
	{id: "whoami", route: "GET /v1/whoami", action: signedIn, tag: "server", summary: "Who the key belongs to", handle: with((*API).whoami)},

	{id: "getWorkspace", route: "GET /v1/workspace", action: corp.WorkspaceRead, tag: "workspaces", summary: "The key's own workspace", handle: with((*API).workspace)},
	{id: "updateWorkspace", route: "PATCH /v1/workspace", action: corp.WorkspaceWrite, tag: "workspaces", summary: "Change its name, concurrency or budget", handle: with((*API).updateWorkspace)},
	{id: "getLimits", route: "GET /v1/limits", action: corp.WorkspaceRead, tag: "workspaces", summary: "The workspace's plan, its limits and what is left of them", handle: with((*API).workspaceLimits)},
	{id: "listWorkspaces", route: "GET /v1/workspaces", action: corp.WorkspaceManage, tag: "workspaces", summary: "All workspaces of the installation", handle: with((*API).workspaces)},
	{id: "createWorkspace", route: "POST /v1/workspaces", action: corp.WorkspaceManage, tag: "workspaces", summary: "Make a workspace and its first owner key", status: http.StatusCreated, handle: with((*API).createWorkspace)},
	{id: "suspendWorkspace", route: "POST /v1/workspaces/{workspace}/suspend", action: corp.WorkspaceManage, tag: "incidents", summary: "Put a workspace out of use at once, whatever its owner says; nothing is deleted", handle: with((*API).suspendWorkspace)},
	{id: "resumeWorkspace", route: "POST /v1/workspaces/{workspace}/resume", action: corp.WorkspaceManage, tag: "incidents", summary: "Put a suspended workspace into use again", handle: with((*API).resumeWorkspace)},
	{id: "disablePerson", route: "POST /v1/installation/people/disable", action: corp.UserManage, tag: "incidents", summary: "Keep somebody out: their sessions end, their own keys are refused", handle: with((*API).disablePerson)},
	{id: "enablePerson", route: "POST /v1/installation/people/enable", action: corp.UserManage, tag: "incidents", summary: "Let somebody in again who was kept out", handle: with((*API).enablePerson)},
	{id: "signOutPeople", route: "POST /v1/installation/people/sign-out", action: corp.UserManage, tag: "incidents", summary: "End the sessions of somebody, or of everybody; keys go on", handle: with((*API).signOutPeople)},
	{id: "rotateSigningKeys", route: "POST /v1/installation/signing-keys/rotate", action: corp.UserManage, tag: "incidents", summary: "Have another key sign access tokens from now on", handle: with((*API).rotateSigningKeys)},
	{id: "revokeAnyKey", route: "POST /v1/installation/keys/revoke", action: corp.UserManage, tag: "incidents", summary: "End a key of any workspace, or of the installation's own", handle: with((*API).revokeAnyKey)},
	{id: "revokeOperatorKeys", route: "POST /v1/installation/operator-keys/revoke", action: corp.UserManage, tag: "incidents", summary: "End all the operator's other keys, or those of the pool's runners", handle: with((*API).revokeOperatorKeys)},

	{id: "listMembers", route: "GET /v1/members", action: corp.MemberRead, tag: "people", summary: "The people of the workspace", handle: with((*API).members)},
	{id: "updateMember", route: "PATCH /v1/members/{user}", action: corp.MemberWrite, tag: "people", summary: "Give a member another role", handle: with((*API).updateMember)},
	{id: "removeMember", route: "DELETE /v1/members/{user}", action: corp.MemberWrite, tag: "people", summary: "Take somebody out of the workspace, and their keys with them", status: http.StatusNoContent, handle: with((*API).removeMember)},
	{id: "listInvitations", route: "GET /v1/invitations", action: corp.MemberWrite, tag: "people", summary: "The open invitations", handle: with((*API).invitations)},
	{id: "createInvitation", route: "POST /v1/invitations", action: corp.MemberWrite, tag: "people", summary: "Invite somebody by mail", status: http.StatusCreated, handle: with((*API).createInvitation)},
	{id: "revokeInvitation", route: "DELETE /v1/invitations/{invitation}", action: corp.MemberWrite, tag: "people", summary: "Take an invitation back", handle: with((*API).revokeInvitation)},

	{id: "listAgents", route: "GET /v1/agents", action: corp.AgentRead, tag: "agents", summary: "The workspace's agents", handle: with((*API).agents)},
	{id: "createAgent", route: "POST /v1/agents", action: corp.AgentWrite, tag: "agents", summary: "Make an agent", status: http.StatusCreated, handle: with((*API).createAgent)},
	{id: "getAgent", route: "GET /v1/agents/{agent}", action: corp.AgentRead, tag: "agents", summary: "An agent, by name or id", handle: with((*API).agent)},
	{id: "updateAgent", route: "PUT /v1/agents/{agent}", action: corp.AgentWrite, tag: "agents", summary: "Give an agent a new version", handle: with((*API).updateAgent)},
	{id: "limitAgent", route: "PATCH /v1/agents/{agent}", action: corp.AgentWrite, tag: "agents", summary: "Change how many runs of an agent there may be at a time", handle: with((*API).limitAgent)},
	{id: "archiveAgent", route: "DELETE /v1/agents/{agent}", action: corp.AgentWrite, tag: "agents", summary: "Take an agent out of use", handle: with((*API).archiveAgent)},

	{id: "listRepositories", route: "GET /v1/repositories", action: corp.RepositoryRead, tag: "repositories", summary: "The workspace's repositories", handle: with((*API).repositories)},
	{id: "createRepository", route: "POST /v1/repositories", action: corp.RepositoryWrite, tag: "repositories", summary: "Make a repository", status: http.StatusCreated, handle: with((*API).createRepository)},
	{id: "getRepository", route: "GET /v1/repositories/{repository}", action: corp.RepositoryRead, tag: "repositories", summary: "A repository", handle: with((*API).repository)},
	{id: "limitRepository", route: "PATCH /v1/repositories/{repository}", action: corp.RepositoryWrite, tag: "repositories", summary: "Change how many runs on a repository there may be at a time", handle: with((*API).limitRepository)},
	{id: "archiveRepository", route: "DELETE /v1/repositories/{repository}", action: corp.RepositoryWrite, tag: "repositories", summary: "Take a repository out of use", handle: with((*API).archiveRepository)},

	{id: "listProviders", route: "GET /v1/providers", action: corp.ProviderRead, tag: "providers", summary: "The workspace's providers and the installation's", handle: with((*API).providers)},
	{id: "createProvider", route: "POST /v1/providers", action: corp.ProviderWrite, tag: "providers", summary: "Make a provider", status: http.StatusCreated, handle: with((*API).createProvider)},
	{id: "updateProvider", route: "PUT /v1/providers/{provider}", action: corp.ProviderWrite, tag: "providers", summary: "Change a provider or its key", handle: with((*API).updateProvider)},
	{id: "archiveProvider", route: "DELETE /v1/providers/{provider}", action: corp.ProviderWrite, tag: "providers", summary: "Take a provider out of use", handle: with((*API).archiveProvider)},

	{id: "listPrices", route: "GET /v1/prices", action: corp.PriceRead, tag: "providers", summary: "The price book, the newest rows first", handle: with((*API).prices)},
	{id: "addPrice", route: "POST /v1/prices", action: corp.PriceWrite, tag: "providers", summary: "Add a model's price to the price book", status: http.StatusCreated, handle: with((*API).addPrice)},

	{id: "uploadSource", route: "POST /v1/blobs", action: corp.TaskWrite, tag: "blobs", summary: "Store a git bundle for a task's source_id", status: http.StatusCreated, upload: true, handle: with((*API).uploadSource)},
	{id: "downloadBlob", route: "GET /v1/blobs/{blob}", action: corp.TaskRead, tag: "blobs", summary: "Stored bytes", serves: []string{"application/octet-stream"}, handle: with((*API).downloadBlob)},

	{id: "listTasks", route: "GET /v1/tasks", action: corp.TaskRead, tag: "tasks", summary: "The workspace's tasks, newest first", handle: with((*API).tasks)},
	{id: "submitTask", route: "POST /v1/tasks", action: corp.TaskWrite, tag: "tasks", summary: "Submit a task", status: http.StatusCreated, handle: with((*API).submitTask)},
	{id: "getTask", route: "GET /v1/tasks/{task}", action: corp.TaskRead, tag: "tasks", summary: "A task", handle: with((*API).task)},
	{id: "getTaskWait", route: "GET /v1/tasks/{task}/wait", action: corp.TaskRead, tag: "tasks", summary: "What a task waits for, and about how long", handle: with((*API).taskWait)},
	{id: "cancelTask", route: "POST /v1/tasks/{task}/cancel", action: corp.TaskWrite, tag: "tasks", summary: "Stop a task and all beneath it", handle: with((*API).cancelTask)},
	{id: "retryTask", route: "POST /v1/tasks/{task}/retry", action: corp.TaskWrite, tag: "tasks", summary: "Give a task another run", handle: with((*API).retryTask)},
	{id: "redriveTask", route: "POST /v1/tasks/{task}/redrive", action: corp.TaskWrite, tag: "tasks", summary: "Give a dead or failed task all its attempts anew", handle: with((*API).redriveTask)},
	{id: "redriveTasks", route: "POST /v1/tasks/redrive", action: corp.TaskWrite, tag: "tasks", summary: "Redrive the dead or failed tasks that a filter matches, the oldest first", handle: with((*API).redriveTasks)},
	{id: "getTaskTree", route: "GET /v1/tasks/{task}/tree", action: corp.TaskRead, tag: "tasks", summary: "A task and all beneath it", handle: with((*API).taskTree)},

	{id: "submitBatch", route: "POST /v1/batches", action: corp.TaskWrite, tag: "batches", summary: "Submit many tasks, all or none", status: http.StatusCreated, body: maxBatchBody, handle: with((*API).submitBatch)},
	{id: "getBatch", route: "GET /v1/batches/{batch}", action: corp.TaskRead, tag: "batches", summary: "How far a batch has come", handle: with((*API).batch)},
	{id: "cancelBatch", route: "POST /v1/batches/{batch}/cancel", action: corp.TaskWrite, tag: "batches", summary: "Stop what has not ended of a batch, and all beneath it", handle: with((*API).cancelBatch)},

	{id: "listSchedules", route: "GET /v1/schedules", action: corp.ScheduleRead, tag: "schedules", summary: "The workspace's schedules", handle: with((*API).schedules)},
	{id: "createSchedule", route: "POST /v1/schedules", action: corp.ScheduleWrite, tag: "schedules", summary: "Submit a task again and again, by the clock", status: http.StatusCreated, handle: with((*API).createSchedule)},
	{id: "getSchedule", route: "GET /v1/schedules/{schedule}", action: corp.ScheduleRead, tag: "schedules", summary: "A schedule, by name or id", handle: with((*API).schedule)},
	{id: "updateSchedule", route: "PATCH /v1/schedules/{schedule}", action: corp.ScheduleWrite, tag: "schedules", summary: "Change, pause or resume a schedule", handle: with((*API).updateSchedule)},
	{id: "archiveSchedule", route: "DELETE /v1/schedules/{schedule}", action: corp.ScheduleWrite, tag: "schedules", summary: "End a schedule", handle: with((*API).archiveSchedule)},
	{id: "triggerSchedule", route: "POST /v1/schedules/{schedule}/trigger", action: corp.ScheduleWrite, tag: "schedules", summary: "Submit a schedule's task now", status: http.StatusCreated, handle: with((*API).triggerSchedule)},

	{id: "listRuns", route: "GET /v1/runs", action: corp.TaskRead, tag: "runs", summary: "Runs, newest first", handle: with((*API).runs)},
	{id: "getRun", route: "GET /v1/runs/{run}", action: corp.TaskRead, tag: "runs", summary: "A run", handle: with((*API).run)},
	{id: "listEntries", route: "GET /v1/runs/{run}/entries", action: corp.TaskRead, tag: "runs", summary: "A run's transcript", handle: with((*API).entries)},
	{id: "downloadPatch", route: "GET /v1/runs/{run}/patch", action: corp.TaskRead, tag: "runs", summary: "A run's change as a patch", serves: []string{"text/x-diff"}, handle: with((*API).patch)},

	{id: "listCalls", route: "GET /v1/calls", action: corp.UsageRead, tag: "usage", summary: "Model calls, newest first", handle: with((*API).calls)},
	{id: "getUsage", route: "GET /v1/usage", action: corp.UsageRead, tag: "usage", summary: "Sums of model calls", handle: with((*API).usage)},

	{id: "listAPIKeys", route: "GET /v1/keys", action: corp.APIKeyOwn, tag: "keys", summary: "The workspace's keys; a member sees their own", handle: with((*API).apiKeys)},
	{id: "createAPIKey", route: "POST /v1/keys", action: corp.APIKeyOwn, tag: "keys", summary: "Make a key; it is shown once", status: http.StatusCreated, handle: with((*API).createAPIKey)},
	{id: "rotateAPIKey", route: "POST /v1/keys/{key}/rotate", action: corp.APIKeyOwn, tag: "keys", summary: "Make a key in place of another one, which goes on for a while", status: http.StatusCreated, handle: with((*API).rotateAPIKey)},
	{id: "revokeAPIKey", route: "DELETE /v1/keys/{key}", action: corp.APIKeyOwn, tag: "keys", summary: "End a key", handle: with((*API).revokeAPIKey)},

	{id: "listAudit", route: "GET /v1/audit", action: corp.AuditRead, tag: "audit", summary: "Who did what in the workspace, newest first", handle: with((*API).audit)},
	{id: "exportAudit", route: "GET /v1/audit/export", action: corp.AuditRead, tag: "audit", summary: "The workspace's sealed audit log, to be verified", serves: []string{"application/jsonl"}, handle: with((*API).exportAudit)},
	{id: "getAuditCheckpoint", route: "GET /v1/audit/checkpoint", action: corp.AuditRead, tag: "audit", summary: "The newest signed checkpoint of the workspace's audit log", handle: with((*API).auditCheckpoint)},
	{id: "listInstallationAudit", route: "GET /v1/installation/audit", action: corp.AuditManage, tag: "audit", summary: "Who did what outside a workspace, newest first", handle: with((*API).installationAudit)},
	{id: "exportInstallationAudit", route: "GET /v1/installation/audit/export", action: corp.AuditManage, tag: "audit", summary: "The installation's sealed audit log, to be verified", serves: []string{"application/jsonl"}, handle: with((*API).exportInstallationAudit)},
	{id: "getInstallationCheckpoint", route: "GET /v1/installation/audit/checkpoint", action: corp.AuditManage, tag: "audit", summary: "The newest signed checkpoint of the installation's audit log", handle: with((*API).installationCheckpoint)},
	{id: "eraseAudit", route: "POST /v1/installation/audit/erase", action: corp.UserManage, tag: "audit", summary: "Erase somebody's personal data from the audit logs; the events stay", handle: with((*API).eraseAudit)},

	{id: "listRunners", route: "GET /v1/runners", action: corp.RunnerRead, tag: "runners", summary: "The workspace's runners and the pool's", handle: with((*API).listRunners)},

	{id: "listMails", route: "GET /v1/mails", action: corp.UserManage, tag: "people", summary: "What the installation wrote to people, without the texts", handle: with((*API).mails)},
	{id: "getMail", route: "GET /v1/mails/{mail}", action: corp.UserManage, tag: "people", summary: "A mail with its text, unless that is sent; audited", handle: with((*API).mail)},
	{id: "listServers", route: "GET /v1/servers", action: corp.ServerRead, tag: "server", summary: "The servers of the installation", handle: with((*API).servers)},

	{id: "listEvents", route: "GET /v1/events", action: corp.TaskRead, tag: "events", summary: "Events after a number, oldest first", handle: with((*API).events)},
	{id: "stream", route: "GET /v1/stream", action: corp.TaskRead, tag: "events", summary: "Events and entries as they happen (server-sent events)", serves: []string{"text/event-stream"}, handle: with((*API).stream)},

	{id: "registerRunner", route: "POST /v1/runner/register", action: corp.RunnerLease, tag: "runner protocol", summary: "A runner introduces itself", handle: with((*API).registerRunner)},
	{id: "pollRunner", route: "POST /v1/runner/poll", action: corp.RunnerLease, tag: "runner protocol", summary: "Wait for work", handle: with((*API).poll)},
	{id: "beatRunner", route: "POST /v1/runner/beat", action: corp.RunnerLease, tag: "runner protocol", summary: "Renew leases", handle: with((*API).beat)},
	{id: "ackRun", route: "POST /v1/runner/runs/{run}/ack", action: corp.RunnerLease, tag: "runner protocol", summary: "Take an offer up", status: http.StatusNoContent, handle: with((*API).ackRun)},
	{id: "releaseRun", route: "POST /v1/runner/runs/{run}/release", action: corp.RunnerLease, tag: "runner protocol", summary: "Give a run back to the queue", status: http.StatusNoContent, handle: with((*API).releaseRun)},
	{id: "reportEntries", route: "POST /v1/runner/runs/{run}/entries", action: corp.RunnerLease, tag: "runner protocol", summary: "Report the transcript", body: maxEntriesBody, handle: with((*API).reportEntries)},
	{id: "saveSteps", route: "POST /v1/runner/runs/{run}/steps", action: corp.RunnerLease, tag: "runner protocol", summary: "Save what must not be done again", status: http.StatusNoContent, body: maxEntriesBody, handle: with((*API).saveSteps)},
	{id: "listSteps", route: "GET /v1/runner/runs/{run}/steps", action: corp.RunnerLease, tag: "runner protocol", summary: "The journal a run goes on with", handle: with((*API).steps)},
	{id: "finishRun", route: "POST /v1/runner/runs/{run}/finish", action: corp.RunnerLease, tag: "runner protocol", summary: "End a run", handle: with((*API).finishRun)},
	{id: "downloadSource", route: "GET /v1/runner/runs/{run}/source", action: corp.RunnerLease, tag: "runner protocol", summary: "The git bundle a run starts from", serves: []string{"application/octet-stream"}, handle: with((*API).downloadSource)},
	{id: "uploadResult", route: "POST /v1/runner/runs/{run}/blobs", action: corp.RunnerLease, tag: "runner protocol", summary: "Store what a run made", status: http.StatusCreated, upload: true, handle: with((*API).uploadResult)},

	{id: "signUp", route: "POST /v1/auth/register", action: public, tag: "sign-in", summary: "Have a mail sent that makes an account, or says that there is one", status: http.StatusAccepted, handle: with((*API).signUp)},
	{id: "verifyEmail", route: "POST /v1/auth/verify", action: public, tag: "sign-in", summary: "Make an account with the mail's link, and sign in", handle: with((*API).verify)},
	{id: "acceptInvitationAsNew", route: "POST /v1/auth/invitation", action: public, tag: "sign-in", summary: "Make an account with an invitation, and sign in", handle: with((*API).acceptAsNew)},
	{id: "signIn", route: "POST /v1/auth/login", action: public, tag: "sign-in", summary: "Sign in with a password", handle: with((*API).login)},
	{id: "refreshSession", route: "POST /v1/auth/refresh", action: public, tag: "sign-in", summary: "Exchange a refresh credential for an access token", handle: with((*API).refresh)},
	{id: "resetPassword", route: "POST /v1/auth/reset", action: public, tag: "sign-in", summary: "Have a mail sent that allows a new password", status: http.StatusAccepted, handle: with((*API).reset)},
	{id: "confirmReset", route: "POST /v1/auth/reset/confirm", action: public, tag: "sign-in", summary: "Set a new password with the mail's link", status: http.StatusNoContent, handle: with((*API).confirmReset)},
	{id: "beginDevice", route: "POST /v1/auth/device", action: public, tag: "sign-in", summary: "Begin the sign-in of a command line (RFC 8628)", status: http.StatusCreated, handle: with((*API).beginDevice)},
	{id: "takeDevice", route: "POST /v1/auth/device/token", action: public, tag: "sign-in", summary: "Sign in once a person has said yes", handle: with((*API).takeDevice)},
	{id: "listIssuers", route: "GET /v1/auth/elsewhere", action: public, tag: "sign-in", summary: "Where people may sign in elsewhere (OpenID Connect)", handle: with((*API).issuers)},
	{id: "signInElsewhere", route: "POST /v1/auth/elsewhere/{issuer}", action: public, tag: "sign-in", summary: "Begin to sign in elsewhere", handle: with((*API).beginElsewhere)},
	{id: "finishElsewhere", route: "GET " + ElsewherePath + "/{issuer}", action: public, tag: "sign-in", summary: "Where an issuer sends the browser back to", status: http.StatusSeeOther, handle: with((*API).finishElsewhere)},
	{id: "signOut", route: "POST /v1/auth/logout", action: person, tag: "sign-in", summary: "End this session", status: http.StatusNoContent, handle: with((*API).logout)},
	{id: "stepUp", route: "POST /v1/auth/step-up", action: person, tag: "sign-in", summary: "Prove who you are once more; it counts for ten minutes", status: http.StatusNoContent, handle: with((*API).stepUp)},
	{id: "getSigningKeys", route: "GET /.well-known/jwks.json", action: public, tag: "sign-in", summary: "The public keys of access tokens (RFC 7517)", handle: with((*API).jwks)},

	{id: "getMe", route: "GET /v1/me", action: person, tag: "me", summary: "You, your workspaces, and how you may sign in", handle: with((*API).me)},
	{id: "renameMe", route: "PATCH /v1/me", action: person, tag: "me", summary: "Change your name", handle: with((*API).rename)},
	{id: "deleteMe", route: "DELETE /v1/me", action: person, tag: "me", summary: "Have your account deleted in seven days", handle: with((*API).deleteMe)},
	{id: "changePassword", route: "POST /v1/me/password", action: person, tag: "me", summary: "Change your password; all sessions end, and another one follows yours", handle: with((*API).changePassword)},
	{id: "changeEmail", route: "POST /v1/me/email", action: person, tag: "me", summary: "Have a mail sent to another address, to confirm it", status: http.StatusAccepted, handle: with((*API).changeEmail)},
	{id: "confirmEmail", route: "POST /v1/me/email/confirm", action: person, tag: "me", summary: "Take the address that the mail's link proves", status: http.StatusNoContent, handle: with((*API).confirmEmail)},
	{id: "listSessions", route: "GET /v1/me/sessions", action: person, tag: "me", summary: "Where you are signed in", handle: with((*API).sessions)},
	{id: "endSession", route: "DELETE /v1/me/sessions/{session}", action: person, tag: "me", summary: "Sign out elsewhere", status: http.StatusNoContent, handle: with((*API).endSession)},
	{id: "beginFactor", route: "POST /v1/me/totp", action: person, tag: "me", summary: "Draw a second factor, to be confirmed", status: http.StatusCreated, handle: with((*API).beginFactor)},
	{id: "confirmFactor", route: "POST /v1/me/totp/confirm", action: person, tag: "me", summary: "Put the second factor in force", handle: with((*API).confirmFactor)},
	{id: "dropFactor", route: "DELETE /v1/me/totp", action: person, tag: "me", summary: "Remove the second factor", status: http.StatusNoContent, handle: with((*API).dropFactor)},
	{id: "newRecoveryCodes", route: "POST /v1/me/recovery-codes", action: person, tag: "me", summary: "Replace your recovery codes", status: http.StatusCreated, handle: with((*API).newRecoveryCodes)},
	{id: "workIn", route: "PUT /v1/me/workspace", action: person, tag: "me", summary: "Work in another of your workspaces", handle: with((*API).workIn)},
	{id: "foundWorkspace", route: "POST /v1/me/workspaces", action: person, tag: "me", summary: "Make a workspace that you own", status: http.StatusCreated, handle: with((*API).foundWorkspace)},
	{id: "leaveWorkspace", route: "POST /v1/me/workspaces/{workspace}/leave", action: person, tag: "me", summary: "Leave a workspace", status: http.StatusNoContent, handle: with((*API).leaveWorkspace)},
	{id: "handOverWorkspace", route: "POST /v1/me/workspaces/{workspace}/hand-over", action: person, tag: "me", summary: "Make another member its owner in your stead", status: http.StatusNoContent, handle: with((*API).handOverWorkspace)},
	{id: "deleteWorkspace", route: "DELETE /v1/me/workspaces/{workspace}", action: person, tag: "me", summary: "Put a workspace that you own out of use, and have it deleted in seven days", handle: with((*API).deleteWorkspace)},
	{id: "restoreWorkspace", route: "POST /v1/me/workspaces/{workspace}/restore", action: person, tag: "me", summary: "Take the deletion of a workspace back", status: http.StatusNoContent, handle: with((*API).restoreWorkspace)},
	{id: "acceptInvitation", route: "POST /v1/me/invitation", action: person, tag: "me", summary: "Join the workspace that invites you", handle: with((*API).acceptInvitation)},
	{id: "showDevice", route: "POST /v1/me/device/waiting", action: person, tag: "me", summary: "Where a device's code was asked for", handle: with((*API).waitingDevice)},
	{id: "answerDevice", route: "POST /v1/me/device", action: person, tag: "me", summary: "Let a device in, or turn it away", status: http.StatusNoContent, handle: with((*API).answerDevice)},
	{id: "linkElsewhere", route: "POST /v1/me/elsewhere/{issuer}", action: person, tag: "me", summary: "Begin to link an account elsewhere", handle: with((*API).beginElsewhere)},
	{id: "unlinkElsewhere", route: "DELETE /v1/me/elsewhere", action: person, tag: "me", summary: "Take an account elsewhere away", status: http.StatusNoContent, handle: with((*API).unlink)},
}
