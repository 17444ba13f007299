package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func manyTasks(n, promptBytes int) corp.BatchSpec {
	spec := corp.BatchSpec{Tasks: make([]corp.BatchTask, n)}
	for i := range spec.Tasks {
		spec.Tasks[i] = corp.BatchTask{Ref: fmt.Sprint(i), TaskSpec: corp.TaskSpec{Prompt: strings.Repeat("x", promptBytes), RepositoryURL: someURL}}
		if i > 0 {
			spec.Tasks[i].After = []corp.Dependency{{Ref: fmt.Sprint(i - 1)}}
		}
	}
	return spec
}

// A batch is larger than any other request, and as safe to repeat as a single task.
func TestALargeBatchIsTakenOnce(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	spec, key := manyTasks(500, 4000), map[string]string{"Idempotency-Key": "once"}
	first := o.do(t, o.keys[corp.RoleMember], http.MethodPost, "/v1/batches", key, asJSON(t, spec))
	again := o.do(t, o.keys[corp.RoleMember], http.MethodPost, "/v1/batches", key, asJSON(t, spec))
	if first.status != http.StatusCreated || again.status != http.StatusOK || again.header.Get("Idempotency-Replayed") != "true" || first.body != again.body {
		t.Fatalf("%d, then %d", first.status, again.status)
	}
	batch := made[corp.Batch](t, first)
	if len(batch.Tasks) != 500 || batch.Tasks[0].State != corp.TaskQueued || batch.Tasks[499].State != corp.TaskBlocked || batch.Tasks[499].Ref != "499" {
		t.Errorf("%+v", batch.Tasks[499])
	}
	spec.Tasks[3].Prompt = "another"
	if got := o.do(t, o.keys[corp.RoleMember], http.MethodPost, "/v1/batches", key, asJSON(t, spec)); got.status != http.StatusConflict {
		t.Errorf("another batch under the same key: %d", got.status)
	}
	page := must[corp.List[corp.Task]](t)(o.owner().Tasks(t.Context(), client.TaskQuery{Batch: batch.ID, State: corp.TaskBlocked}, corp.Page{Limit: 500}))
	if len(page.Items) != 499 {
		t.Errorf("%d blocked tasks are listed", len(page.Items))
	}
	status := must[corp.BatchStatus](t)(o.owner().CancelBatch(t.Context(), batch.ID))
	if status.Open != 0 || status.States[corp.TaskCancelled] != 500 {
		t.Errorf("%+v", status)
	}
}

func TestAMistakeInABatchIsNamedByItsPlace(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	for name, c := range map[string]struct {
		spoil func(*corp.BatchSpec)
		field string
	}{
		"an empty prompt":     {func(s *corp.BatchSpec) { s.Tasks[17].Prompt = "" }, "tasks[17].prompt"},
		"a prompt of blanks":  {func(s *corp.BatchSpec) { s.Tasks[17].Prompt = "  " }, "tasks[17].prompt"},
		"a path":              {func(s *corp.BatchSpec) { s.Tasks[17].RepositoryURL = "/etc" }, "tasks[17].repository_url"},
		"a label":             {func(s *corp.BatchSpec) { s.Tasks[17].Labels = []string{"a", "b,c"} }, "tasks[17].labels[1]"},
		"an agent":            {func(s *corp.BatchSpec) { s.Tasks[17].Agent = "nobody" }, "tasks[17].agent"},
		"a dependency":        {func(s *corp.BatchSpec) { s.Tasks[17].After[0].Ref = "nowhere" }, "tasks[17].after[0].ref"},
		"a policy":            {func(s *corp.BatchSpec) { s.Tasks[17].After[0].OnFailure = "ignore" }, "tasks[17].after[0].on_failure"},
		"a missing task":      {func(s *corp.BatchSpec) { s.Tasks[17].After[0] = corp.Dependency{TaskID: corp.NewID[corp.TaskID]()} }, "tasks[17].after[0].task_id"},
		"a circle":            {func(s *corp.BatchSpec) { s.Tasks[0].After = []corp.Dependency{{Ref: "1"}} }, "tasks[0].after"},
		"a deadline and time": {func(s *corp.BatchSpec) { s.Tasks[17].DeadlineSeconds, s.Tasks[17].DelaySeconds = 5, 10 }, "tasks[17].deadline_seconds"},
	} {
		spec := manyTasks(20, 10)
		c.spoil(&spec)
		got := o.do(t, o.keys[corp.RoleMember], http.MethodPost, "/v1/batches", nil, asJSON(t, spec))
		if p := got.problem(t); got.status/100 != 4 || p.Field != c.field || p.Hint == "" {
			t.Errorf("%s: %d %+v, want the field %s", name, got.status, p, c.field)
		}
	}
	if page := must[corp.List[corp.Task]](t)(o.owner().Tasks(t.Context(), client.TaskQuery{}, corp.Page{})); len(page.Items) != 0 {
		t.Errorf("%d tasks were made all the same", len(page.Items))
	}
	for _, body := range []string{`{"tasks":[]}`, `{}`, `{"tasks":[{"prompt":"x","repository_url":"` + someURL + `","ref":5}]}`} {
		if got := o.do(t, o.keys[corp.RoleMember], http.MethodPost, "/v1/batches", nil, body); got.status/100 != 4 {
			t.Errorf("%s: %d", body, got.status)
		}
	}
}
