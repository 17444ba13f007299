package main

import (
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
)

// readSpec reads a command line at 22:30 in a zone an hour east of Greenwich.
func readSpec(t *testing.T, args ...string) (corp.TaskSpec, error) {
	t.Helper()
	now := time.Date(2026, 5, 1, 22, 30, 0, 0, time.FixedZone("", 3600))
	var s specFlags
	var d delayFlags
	cmd := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(cmd *cobra.Command, _ []string) error {
		if err := s.read(cmd.Flags(), []string{"x"}, now, io.Discard); err != nil {
			return err
		}
		return d.read(&s.spec, now)
	}}
	s.add(cmd)
	d.add(cmd)
	cmd.SetArgs(append([]string{"--repo", "."}, args...))
	err := cmd.Execute()
	return s.spec, err
}

func TestTheFlagsOfTimeBecomeTheSpec(t *testing.T) {
	t.Parallel()
	at := func(text string) *time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	for _, c := range []struct {
		args []string
		want corp.TaskSpec
	}{
		{nil, corp.TaskSpec{}},
		{[]string{"--in", "10m"}, corp.TaskSpec{DelaySeconds: 600}},
		{[]string{"--in", "1ms"}, corp.TaskSpec{DelaySeconds: 1}},
		{[]string{"--at", "23:00"}, corp.TaskSpec{NotBefore: at("2026-05-01T22:00:00Z")}},
		{[]string{"--at", "22:30"}, corp.TaskSpec{NotBefore: at("2026-05-02T21:30:00Z")}},
		{[]string{"--at", "2026-06-01 08:00"}, corp.TaskSpec{NotBefore: at("2026-06-01T07:00:00Z")}},
		{[]string{"--at", "2026-06-01T08:00:00+02:00"}, corp.TaskSpec{NotBefore: at("2026-06-01T06:00:00Z")}},
		{[]string{"--deadline", "2h"}, corp.TaskSpec{DeadlineSeconds: 7200}},
		{[]string{"--deadline", "06:00"}, corp.TaskSpec{DeadlineAt: at("2026-05-02T05:00:00Z")}},
		{[]string{"--retries", "0"}, corp.TaskSpec{MaxAttempts: 1}},
		{[]string{"--retries", "4"}, corp.TaskSpec{MaxAttempts: 5}},
		{[]string{"--attempts", "4"}, corp.TaskSpec{MaxAttempts: 4}},
		{[]string{"--retry-base", "500ms", "--retry-cap", "1m"}, corp.TaskSpec{Retry: &corp.RetryPolicy{BaseMS: 500, CapMS: 60_000}}},
		{[]string{"--retry-cap", "1m"}, corp.TaskSpec{Retry: &corp.RetryPolicy{CapMS: 60_000}}},
	} {
		got, err := readSpec(t, c.args...)
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		c.want.Prompt, c.want.TimeoutSeconds = "x", 300
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.args, diff)
		}
	}
}

func TestFlagsOfTimeThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--in", "-1m"},
		{"--in", "soon"},
		{"--in", "9000h"},
		{"--deadline", "9000h"},
		{"--at", "tomorrow"},
		{"--at", "25:00"},
		{"--at", "2026-02-30 08:00"},
		{"--at", "23:00", "--in", "1m"},
		{"--deadline", "0s"},
		{"--deadline", "-2h"},
		{"--deadline", "never"},
		{"--retries", "-1"},
		{"--retries", "1", "--attempts", "2"},
		{"--retry-base", "-1s"},
		{"--retry-cap", "-1s"},
		{"--timeout", "0s"},
	} {
		if _, err := readSpec(t, args...); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
