//go:build engine || soak

package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// nowhere is the repository of tasks that only simulated runners carry out.
const nowhere = "https://git.example.com/acme/widgets.git"

func randomName() string { return strings.ToLower(rand.Text()[:12]) }

// work is a task whose prompt tells a simulated runner what to do.
func work(orders string, args ...any) corp.TaskSpec {
	return corp.TaskSpec{Prompt: fmt.Sprintf(orders, args...), RepositoryURL: nowhere, TimeoutSeconds: 600}
}

// persist does something at one server after the other until it works, as a
// caller with patience would; it is safe to repeat.
func persist[T any](w *tenant, do func(*client.Client) (T, error)) T {
	w.site.t.Helper()
	v, err := tryFor(context.Background(), w.clients, patience, do)
	if err != nil {
		w.site.t.Fatal(err)
	}
	return v
}

func tryFor[T any](ctx context.Context, clients []*client.Client, within time.Duration, do func(*client.Client) (T, error)) (v T, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for i := 0; ; i++ {
		v, err = do(clients[i%len(clients)])
		if err == nil || !passing(err) {
			return v, err
		}
		if !pauseFor(ctx, 30*time.Millisecond) {
			return v, err
		}
	}
}

// passing says whether an error is one of the moment.
func passing(err error) bool {
	kind := corp.KindOf(err)
	return kind == corp.KindUnavailable || kind == corp.KindInternal
}

// submit submits a task, through whichever server answers.
func (w *tenant) submit(spec corp.TaskSpec) corp.Task {
	w.site.t.Helper()
	key := rand.Text()
	return persist(w, func(c *client.Client) (corp.Task, error) { return c.SubmitTask(w.site.t.Context(), spec, key) })
}

// submitMany submits the same task n times.
func (w *tenant) submitMany(n int, spec corp.TaskSpec) []corp.TaskID {
	w.site.t.Helper()
	ids := make([]corp.TaskID, n)
	for i := range ids {
		ids[i] = w.submit(spec).ID
	}
	return ids
}

// cancel cancels a task, through whichever server answers.
func (w *tenant) cancel(id corp.TaskID) corp.Task {
	w.site.t.Helper()
	return persist(w, func(c *client.Client) (corp.Task, error) { return c.CancelTask(w.site.t.Context(), id) })
}

// task reads a task, through whichever server answers.
func (w *tenant) task(id corp.TaskID) corp.Task {
	w.site.t.Helper()
	return persist(w, func(c *client.Client) (corp.Task, error) { return c.Task(w.site.t.Context(), id) })
}

// limit sets how many of the workspace's runs may be leased at a time.
func (w *tenant) limit(n int) {
	w.site.t.Helper()
	persist(w, func(c *client.Client) (corp.Workspace, error) {
		return c.UpdateWorkspace(w.site.t.Context(), corp.WorkspaceUpdate{Concurrency: &n})
	})
}

// awaitFinal waits until these tasks are final, asking the database.
func (s *site) awaitFinal(within time.Duration, ids ...corp.TaskID) {
	s.t.Helper()
	until(s.t, within, fmt.Sprintf("%d tasks to be final", len(ids)), func() bool {
		return value[int](s.oracle, `SELECT count(*)::int FROM tasks WHERE id = ANY($1) AND state IN ('succeeded', 'failed', 'cancelled', 'dead')`, ids) == len(ids)
	})
}

// state reads a task's state from the database.
func (s *site) state(id corp.TaskID) corp.TaskState {
	s.t.Helper()
	return corp.TaskState(value[string](s.oracle, `SELECT state FROM tasks WHERE id = $1`, id))
}

// held returns how many of a workspace's runs take up a slot.
func (s *site) held(w *tenant) int {
	s.t.Helper()
	return value[int](s.oracle, `SELECT count(*)::int FROM runs WHERE workspace_id = $1 AND state IN ('leased', 'running', 'waiting')`, w.ID)
}
