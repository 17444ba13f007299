package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
)

// said runs a command line that fails before it needs a server.
func said(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	env := &environment{In: strings.NewReader(""), Out: io.Discard, Err: &out, Getenv: func(string) string { return "" }, Environ: func() []string { return nil }}
	if code := execute(t.Context(), env, append(args, "--data", t.TempDir())); code != exitUsage {
		t.Errorf("%q ends with %d", args, code)
	}
	return out.String()
}

func TestAWrongFlagIsAnsweredInTheCommandLinesWords(t *testing.T) {
	t.Parallel()
	run := func(args ...string) []string { return append([]string{"run", "--repo", ".", "x"}, args...) }
	for want, args := range map[string][]string{
		"Did you mean --budget?":                      run("--budgett", "1"),
		"Did you mean --label?":                       run("--lable", "x"),
		"Did you mean --deadline?":                    run("--dead", "x"),
		"Did you mean --server?":                      {"task", "list", "--sever", "x"},
		"unknown flag: --nothing-like-it\n":           run("--nothing-like-it"),
		`--in cannot be "5": it is not a length`:      run("--in", "5"),
		`--priority cannot be "x": it is not a whole`: run("--priority", "x"),
		"attempts: The number of runs":                run("--attempts", "21"),
		"retries: The number of retries is between":   run("--retries", "20"),
		"priority: A priority is between 0 and 9":     run("--priority", "10"),
		"retry-cap: The longest pause is shorter":     run("--retry-cap", "1s"),
		"retry-base: A pause is between":              run("--retry-base", "25h"),
		"label: The label is empty":                   run("--label", ""),
		"at: That time is over":                       run("--at", "2020-01-01 08:00"),
		`on-failure: "maybe"`:                         run("--on-failure", "maybe", "--after", "x"),
		"prompt: The prompt is empty":                 {"run", "--repo", ".", " "},
		`log-level: "loud"`:                           {"up", "--log-level", "loud"},
		"leader-ttl: The lead lasts":                  {"up", "--leader-ttl", "1h"},
		"slots: The number of slots is between 1 and": {"runner", "start", "--slots", "0"},
		`log-format: "xml" is not a log format`:       {"runner", "start", "--log-format", "xml"},
	} {
		if got := said(t, args...); !strings.Contains(got, want) {
			t.Errorf("%q says %q, want %q", args, got, want)
		}
	}
}

func TestTheServersFieldsAreNamedAsTheFlagsThatSetThem(t *testing.T) {
	t.Parallel()
	var s specFlags
	cmd := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return nil }}
	s.add(cmd)
	cmd.Flags().StringSlice("after", nil, "")
	cmd.Flags().String("time-zone", "", "")
	cmd.SetArgs([]string{"--repo", ".", "--retries", "3", "--label", "a", "--after", "b", "--time-zone", "c"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"max_attempts": "retries", "labels[1]": "label", "after[0].task_id": "after", "task.time_zone": "time-zone", "repository_url": "repo",
		"deadline_at": "deadline_at", "tasks[0].max_attempts": "tasks[0].max_attempts", "after": "after", "nothing": "nothing", "": "",
	} {
		err := inFlags(cmd, corp.Invalid(field, `The value of "`+field+`" is not valid.`, "Hint."))
		got, ok := errors.AsType[*corp.Error](err)
		if !ok || got.Field != want || exitCode(err) != exitUsage {
			t.Errorf("%s: %+v", field, err)
		} else if want != field && got.Message != "The value of --"+want+" is not valid." {
			t.Errorf("%s: %s", field, got.Message)
		}
	}
}

func TestABudgetOfNothingIsRemarkedOn(t *testing.T) {
	t.Parallel()
	for budget, want := range map[string]string{"0": "corp: a budget of 0 lets through only calls of models that cost nothing\n", "0.1": ""} {
		var w bytes.Buffer
		var s specFlags
		cmd := &cobra.Command{Use: "x"}
		s.add(cmd)
		s.budget = budget
		if err := s.read(cmd.Flags(), []string{"x"}, time.Now(), &w); err != nil || w.String() != want {
			t.Errorf("%s: %q, %v", budget, w.String(), err)
		}
	}
}
