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
	{id: "listWorkspaces", route: "GET /v1/workspaces", action: corp.WorkspaceManage, tag: "workspaces", summary: "All workspaces of the installation", handle: with((*API).workspaces)},
	{id: "createWorkspace", route: "POST /v1/workspaces", action: corp.WorkspaceManage, tag: "workspaces", summary: "Make a workspace and its first owner key", status: http.StatusCreated, handle: with((*API).createWorkspace)},

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

	{id: "listAPIKeys", route: "GET /v1/keys", action: corp.APIKeyRead, tag: "keys", summary: "The workspace's keys", handle: with((*API).apiKeys)},
	{id: "createAPIKey", route: "POST /v1/keys", action: corp.APIKeyWrite, tag: "keys", summary: "Make a key; it is shown once", status: http.StatusCreated, handle: with((*API).createAPIKey)},
	{id: "revokeAPIKey", route: "DELETE /v1/keys/{key}", action: corp.APIKeyWrite, tag: "keys", summary: "End a key", handle: with((*API).revokeAPIKey)},

	{id: "listRunners", route: "GET /v1/runners", action: corp.RunnerRead, tag: "runners", summary: "The workspace's runners and the pool's", handle: with((*API).listRunners)},

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
}
