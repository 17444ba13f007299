package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newBatch(o *options) *cobra.Command {
	status := func(use, short string, do func(context.Context, *client.Client, corp.BatchID) (corp.BatchStatus, error)) *cobra.Command {
		return newChange(o, use+" BATCH", short,
			func(ctx context.Context, c *client.Client, text string) (corp.BatchStatus, error) {
				id, err := parseArg[corp.BatchID](text)
				if err != nil {
					return corp.BatchStatus{}, err
				}
				return do(ctx, c, id)
			}, o.showBatch)
	}
	return parent("batch", "Submit many tasks at once, all or none", newBatchSubmit(o),
		status("show", "Show how far a batch has come", func(ctx context.Context, c *client.Client, id corp.BatchID) (corp.BatchStatus, error) {
			return c.Batch(ctx, id)
		}),
		status("cancel", "Cancel what has not ended of a batch", func(ctx context.Context, c *client.Client, id corp.BatchID) (corp.BatchStatus, error) {
			return c.CancelBatch(ctx, id)
		}),
	)
}

func (o *options) showBatch(b corp.BatchStatus) error {
	return o.print(b, func(w *tabwriter.Writer) {
		row(w, "batch", b.ID)
		row(w, "created", fmt.Sprintf("%s by %s", ago(b.CreatedAt), b.CreatedBy))
		row(w, "tasks", fmt.Sprintf("%d, %d have not ended", b.Total, b.Open))
		for _, state := range []corp.TaskState{corp.TaskBlocked, corp.TaskQueued, corp.TaskRunning, corp.TaskSucceeded, corp.TaskFailed, corp.TaskCancelled, corp.TaskDead} {
			if n := b.States[state]; n > 0 {
				row(w, "  "+state, n)
			}
		}
	})
}

func newBatchSubmit(o *options) *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Submit the tasks of a file, all or none",
		Long: `Reads tasks from a YAML or JSON file (a list, or one under "tasks") or from a
JSON Lines file (one task a line); - reads YAML from the standard input. A task
has the fields of the API; ref names it for the after of others:

  - ref: build
    prompt: make the build green
    check: make build
  - prompt: write the release notes
    after: [{ref: build}]`,
		Example: `  corp batch submit --repo https://git.example.com/team/app.git tasks.yaml`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&repo, "repo", "", "path, URL or name of the repository of the tasks that name none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		spec, err := readBatch(o.env.In, args[0])
		if err != nil {
			return err
		}
		if repo == "" {
			if err := haveSources(spec.Tasks); err != nil {
				return err
			}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		if repo != "" {
			if err := o.giveSource(cmd.Context(), c, repo, spec.Tasks); err != nil {
				return err
			}
		}
		batch, err := c.SubmitBatch(cmd.Context(), spec, "")
		if err != nil {
			return err
		}
		return o.print(batch, func(w *tabwriter.Writer) {
			states := map[corp.TaskState]int{}
			for _, t := range batch.Tasks {
				states[t.State]++
			}
			row(w, fmt.Sprintf("Batch %s: %d tasks, %d queued, %d blocked.", batch.ID, len(batch.Tasks), states[corp.TaskQueued], states[corp.TaskBlocked]))
			row(w, fmt.Sprintf("Look with: corp batch show %s", batch.ID))
		})
	}
	return cmd
}

func hasSource(t *corp.TaskSpec) bool {
	return t.RepositoryID != nil || t.RepositoryURL != "" || t.SourceID != nil
}

func haveSources(tasks []corp.BatchTask) error {
	for i := range tasks {
		if !hasSource(&tasks[i].TaskSpec) {
			return usageError{corp.Invalid("repo", fmt.Sprintf("The task tasks[%d] does not say where its code is.", i), "Name a repository for all such tasks with --repo, or give the task a repository_url.")}
		}
	}
	return nil
}

// giveSource gives the tasks that do not say where their code is the repository
// that the user named. A path is uploaded once for each base.
func (o *options) giveSource(ctx context.Context, c *client.Client, repo string, tasks []corp.BatchTask) error {
	found := map[string]corp.TaskSpec{}
	for i := range tasks {
		t := &tasks[i].TaskSpec
		if hasSource(t) {
			continue
		}
		source, known := found[t.Base]
		if !known {
			source.Base = t.Base
			if _, err := o.findSource(ctx, c, repo, &source); err != nil {
				return err
			}
			found[t.Base] = source
		}
		t.RepositoryID, t.RepositoryURL, t.SourceID, t.BaseCommit = source.RepositoryID, source.RepositoryURL, source.SourceID, source.BaseCommit
	}
	return nil
}

// maxBatchFile is the largest file that is read: what the server takes.
const maxBatchFile = 32 << 20

func readBatch(in io.Reader, name string) (spec corp.BatchSpec, err error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return spec, usageError{&corp.Error{Kind: corp.KindInvalid, Field: "file", Message: "The file cannot be read.", Hint: "Name a file with tasks, or - for the standard input.", Err: err}}
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxBatchFile+1))
	if err != nil {
		return spec, fmt.Errorf("read the batch: %w", err)
	}
	if len(text) > maxBatchFile {
		return spec, usageError{corp.Invalid("file", "The file is larger than 32 MB.", "Split it into several batches.")}
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson":
		spec.Tasks, err = readLines(text)
		return spec, err
	case ".json":
		return readTree(text, "JSON", json.Unmarshal)
	default:
		return readTree(text, "YAML", yaml.Unmarshal)
	}
}

// readLines reads one task from each line.
func readLines(text []byte) (tasks []corp.BatchTask, err error) {
	for i, line := range bytes.Split(text, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var t corp.BatchTask
		if err := strictly(line, &t); err != nil {
			return nil, notATask(fmt.Sprintf("line %d", i+1), err)
		}
		tasks = append(tasks, t)
	}
	return tasks, holdsSome(tasks)
}

// readTree reads a list of tasks or an object that has one. It ends with JSON, so
// that both formats have the same names.
func readTree(text []byte, format string, read func([]byte, any) error) (spec corp.BatchSpec, err error) {
	var v any
	if err := read(text, &v); err != nil {
		return spec, usageError{corp.Invalid("file", fmt.Sprintf("The file is not %s: %v.", format, err), batchHint)}
	}
	if list, bare := v.([]any); bare {
		v = map[string]any{"tasks": list}
	}
	var raw struct {
		Tasks []json.RawMessage `json:"tasks"`
	}
	text, err = json.Marshal(v)
	if err == nil {
		err = strictly(text, &raw)
	}
	if err != nil {
		return spec, usageError{corp.Invalid("file", "The file does not hold a list of tasks: "+inWords(err)+".", batchHint)}
	}
	spec.Tasks = make([]corp.BatchTask, len(raw.Tasks))
	for i, task := range raw.Tasks {
		if err := strictly(task, &spec.Tasks[i]); err != nil {
			return spec, notATask(fmt.Sprintf("tasks[%d]", i), err)
		}
	}
	return spec, holdsSome(spec.Tasks)
}

const batchHint = "See \"corp batch submit --help\" for what it looks like."

func holdsSome(tasks []corp.BatchTask) error {
	if len(tasks) == 0 {
		return usageError{corp.Invalid("file", "The file holds no task.", batchHint)}
	}
	return nil
}

func notATask(place string, err error) error {
	return usageError{corp.Invalid(place, "That is not a task: "+inWords(err)+".", "The fields and their types are those of a batch's tasks in docs/openapi.yaml.")}
}

// inWords says what is wrong with a value in the words of whoever wrote it,
// which are not those of our types.
func inWords(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return "it is a " + wrong.Value
		}
		return fmt.Sprintf("the field %q cannot be a %s", strings.TrimPrefix(wrong.Field, "TaskSpec."), wrong.Value)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// strictly reads one JSON value; a field that nobody knows is a mistake of the user's.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after it")
	}
	return nil
}
