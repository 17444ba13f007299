package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/cmd/corp/batchfile"
)

func TestABatchIsReadTheSameFromEveryFormat(t *testing.T) {
	t.Parallel()
	want := []corp.BatchTask{
		{Ref: "build", TaskSpec: corp.TaskSpec{Prompt: "make it\nbuild", Check: "make", Labels: []string{"gpu"}, Priority: 3}},
		{TaskSpec: corp.TaskSpec{Prompt: "notes", After: []corp.Dependency{{Ref: "build", OnFailure: "continue"}}}},
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"list.yaml":    "- ref: build\n  prompt: |-\n    make it\n    build\n  check: make\n  labels: [gpu]\n  priority: 3\n- prompt: notes\n  after: [{ref: build, on_failure: continue}]\n",
		"tasks.yml":    "tasks:\n- {ref: build, prompt: \"make it\\nbuild\", check: make, labels: [gpu], priority: 3}\n- {prompt: notes, after: [{ref: build, on_failure: continue}]}\n",
		"tasks.json":   "\t" + `{"tasks":[{"ref":"build","prompt":"make it\nbuild","check":"make","labels":["gpu"],"priority":3},{"prompt":"notes","after":[{"ref":"build","on_failure":"continue"}]}]}`,
		"tasks.jsonl":  `{"ref":"build","prompt":"make it\nbuild","check":"make","labels":["gpu"],"priority":3}` + "\r\n\n" + `{"prompt":"notes","after":[{"ref":"build","on_failure":"continue"}]}`,
		"tasks.NDJSON": `{"ref":"build","prompt":"make it\nbuild","check":"make","labels":["gpu"],"priority":3}` + "\n" + `{"prompt":"notes","after":[{"ref":"build","on_failure":"continue"}]}` + "\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		spec, err := batchfile.Read(nil, file)
		if diff := cmp.Diff(want, spec.Tasks); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if spec, err := batchfile.Read(strings.NewReader("- prompt: x"), "-"); err != nil || len(spec.Tasks) != 1 {
		t.Errorf("from the standard input: %+v %v", spec, err)
	}
}

func TestAMistakeInABatchFileIsOneOfTheUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"unknown.yaml": "- promt: x", "broken.yaml": "- [", "text.yaml": "hello", "type.yaml": "- prompt: [1]", "two.yaml": "- priority: high",
		"line.jsonl": "{\"prompt\":\"x\"}\n{\"promt\":\"x\"}", "pair.jsonl": `{"prompt":"x"}{"prompt":"y"}`, "cut.jsonl": `{"prompt":`,
		"large.yaml": strings.Repeat(" ", 32<<20+1), "missing": "",
	} {
		file := filepath.Join(dir, name)
		if name != "missing" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := batchfile.Read(nil, file)
		if exitCode(err) != exitUsage {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "BatchTask") || strings.Contains(err.Error(), "TaskSpec") {
			t.Errorf("%s shows our types: %v", name, err)
		}
	}
}

func TestAMistakeInABatchFileIsNamedByItsPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, field, says string }{
		"field.yaml": {"- prompt: x\n- promt: y", "tasks[1]", `"promt"`},
		"field.json": {`{"tasks":[{"prompt":"x"},{"prompt":"y","bogus":1}]}`, "tasks[1]", `"bogus"`},
		"type.yaml":  {"- prompt: x\n- {prompt: y, priority: high}", "tasks[1]", `"priority" cannot be a string`},
		"task.yaml":  {"- prompt: x\n- hello", "tasks[1]", "it is a string"},
		"line.jsonl": {"{\"prompt\":\"x\"}\n{\"promt\":\"x\"}", "line 2", `"promt"`},
		"cut.jsonl":  {"{\"prompt\":\"x\"}\n\n{\"prompt\":", "line 3", "ends too early"},
		"outer.yaml": {"taks: []", "file", `"taks"`},
		"empty.yaml": {"", "file", "holds no task"},
		"none.json":  {"[]", "file", "holds no task"},
		"none.jsonl": {"\n\n", "file", "holds no task"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := batchfile.Read(nil, file)
		e, ok := errors.AsType[*corp.Error](err)
		if !ok || e.Field != c.field || !strings.Contains(e.Message, c.says) || e.Hint == "" {
			t.Errorf("%s: %+v", name, err)
		}
	}
}

func TestATaskOfABatchWithoutCodeIsNamed(t *testing.T) {
	t.Parallel()
	err := haveSources([]corp.BatchTask{{TaskSpec: corp.TaskSpec{RepositoryURL: "https://git.example.com/a.git"}}, {}})
	if e, ok := errors.AsType[*corp.Error](err); !ok || e.Field != "repo" || !strings.Contains(e.Message, "tasks[1]") {
		t.Error(err)
	}
}

func TestATasksPlaceAmongOthersIsReadFromFlags(t *testing.T) {
	t.Parallel()
	a, b, c := corp.NewID[corp.TaskID](), corp.NewID[corp.TaskID](), corp.NewID[corp.TaskID]()
	read := func(args ...string) (spec corp.TaskSpec, err error) {
		var g graphFlags
		cmd := &cobra.Command{RunE: func(cmd *cobra.Command, _ []string) error { return g.read(cmd.Flags(), &spec) }, SilenceErrors: true, SilenceUsage: true}
		g.add(cmd)
		cmd.SetArgs(args)
		return spec, cmd.Execute()
	}
	got, err := read("--after", a.String()+", "+b.String(), "--after", c.String(), "--on-failure", "continue", "--parent", a.String())
	want := corp.TaskSpec{ParentID: &a, After: []corp.Dependency{{TaskID: a, OnFailure: "continue"}, {TaskID: b, OnFailure: "continue"}, {TaskID: c, OnFailure: "continue"}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, args := range [][]string{{"--after", "x"}, {"--after", ""}, {"--parent", "run_x"}, {"--parent", ""}, {"--on-failure", "continue"}} {
		_, err := read(args...)
		if e, ok := errors.AsType[*corp.Error](err); !ok || e.Field != strings.TrimPrefix(args[0], "--") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
