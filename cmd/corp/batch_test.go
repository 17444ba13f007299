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
		spec, err := readBatch(nil, file)
		if diff := cmp.Diff(want, spec.Tasks); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	if spec, err := readBatch(strings.NewReader("- prompt: x"), "-"); err != nil || len(spec.Tasks) != 1 {
		t.Errorf("from the standard input: %+v %v", spec, err)
	}
}

func TestAMistakeInABatchFileIsOneOfTheUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"unknown.yaml": "- promt: x", "broken.yaml": "- [", "text.yaml": "hello", "type.yaml": "- prompt: [1]", "two.yaml": "- priority: high",
		"line.jsonl": "{\"prompt\":\"x\"}\n{\"promt\":\"x\"}", "pair.jsonl": `{"prompt":"x"}{"prompt":"y"}`, "cut.jsonl": `{"prompt":`,
		"large.yaml": strings.Repeat(" ", maxBatchFile+1), "missing": "",
	} {
		file := filepath.Join(dir, name)
		if name != "missing" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := readBatch(nil, file)
		if _, ok := errors.AsType[usageError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
		if name == "line.jsonl" && !strings.Contains(err.Error(), "Line 2") {
			t.Error(err)
		}
	}
}

func TestATasksPlaceAmongOthersIsReadFromFlags(t *testing.T) {
	t.Parallel()
	a, b, c := corp.NewID[corp.TaskID](), corp.NewID[corp.TaskID](), corp.NewID[corp.TaskID]()
	read := func(args ...string) (spec corp.TaskSpec, err error) {
		var g graphFlags
		cmd := &cobra.Command{RunE: func(*cobra.Command, []string) error { return g.read(&spec) }, SilenceErrors: true, SilenceUsage: true}
		g.add(cmd)
		cmd.SetArgs(args)
		return spec, cmd.Execute()
	}
	got, err := read("--after", a.String()+", "+b.String(), "--after", c.String(), "--on-failure", "continue", "--parent", a.String())
	want := corp.TaskSpec{ParentID: &a, After: []corp.Dependency{{TaskID: a, OnFailure: "continue"}, {TaskID: b, OnFailure: "continue"}, {TaskID: c, OnFailure: "continue"}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, args := range [][]string{{"--after", "x"}, {"--parent", "run_x"}, {"--on-failure", "continue"}} {
		if _, err := read(args...); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
