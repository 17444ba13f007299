package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
)

// flagOf names the flags that a field of the API is set by, where the name alone
// does not tell.
var flagOf = map[string][]string{
	"max_attempts":       {"attempts", "retries"},
	"retry.base_ms":      {"retry-base"},
	"retry.cap_ms":       {"retry-cap"},
	"not_before":         {"at"},
	"delay_seconds":      {"in"},
	"deadline_at":        {"deadline"},
	"deadline_seconds":   {"deadline"},
	"timeout_seconds":    {"timeout"},
	"budget_nanodollars": {"budget"},
	"parent_id":          {"parent"},
	"labels":             {"label"},
	"after.task_id":      {"after"},
	"after.on_failure":   {"on-failure"},
	"repository_id":      {"repo"},
	"repository_url":     {"repo"},
	"source_id":          {"repo"},
}

// inFlags puts an error of the API about a field into the words of the command
// line that set it. What no flag of cmd stands for stays as it is.
func inFlags(cmd *cobra.Command, err error) error {
	e, ok := errors.AsType[*corp.Error](err)
	if !ok || cmd == nil || e.Field == "" {
		return err
	}
	name := changedFlag(cmd.Flags(), e.Field)
	if name == "" {
		return err
	}
	named := *e
	named.Field = name
	named.Message = strings.ReplaceAll(e.Message, strconv.Quote(e.Field), "--"+name)
	if code := exitCode(err); code == exitUsage {
		return usageError{&named}
	}
	return &named
}

// changedFlag finds the flag that was given and became the field.
func changedFlag(f *pflag.FlagSet, field string) string {
	field = withoutIndex(strings.TrimPrefix(field, "task."))
	candidates := append(slices.Clone(flagOf[field]), strings.ReplaceAll(field, "_", "-"))
	for _, name := range candidates {
		if flag := f.Lookup(name); flag != nil && flag.Changed {
			return name
		}
	}
	return ""
}

// withoutIndex turns after[0].task_id into after.task_id. An index in front is a
// place in a file, which no flag is.
func withoutIndex(field string) string {
	before, rest, found := strings.Cut(field, "[")
	if !found {
		return field
	}
	_, after, _ := strings.Cut(rest, "]")
	return before + after
}

// wrongFlag explains a flag that is not there or does not fit.
func wrongFlag(cmd *cobra.Command, err error) error {
	hint := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if near := nearFlags(cmd, unknown.GetSpecifiedName()); len(near) > 0 {
			hint = " Did you mean --" + strings.Join(near, " or --") + "?"
		}
	}
	text := err.Error()
	if unfit, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		text = fmt.Sprintf("--%s cannot be %q: %s", unfit.GetFlag().Name, unfit.GetValue(), plainly(unfit.Unwrap()))
	}
	if hint != "" {
		text += "."
	}
	return usageError{fmt.Errorf("%s%s\n      See \"%s --help\"", text, hint, cmd.CommandPath())}
}

// plainly says why a value does not fit without naming functions of Go.
func plainly(err error) string {
	if wrong, ok := errors.AsType[*strconv.NumError](err); ok {
		if errors.Is(wrong, strconv.ErrRange) {
			return "it is too large"
		}
		if wrong.Func == "ParseBool" {
			return "it is neither true nor false"
		}
		return "it is not a whole number"
	}
	text := err.Error()
	if strings.HasPrefix(text, "time: ") {
		return "it is not a length of time like 90s, 10m or 2h"
	}
	return text
}

// nearFlags returns the flags whose name a slip of the hand makes of this one.
func nearFlags(cmd *cobra.Command, name string) (near []string) {
	if len(name) < 2 {
		return nil
	}
	look := func(f *pflag.Flag) {
		if !f.Hidden && (slips(name, f.Name) <= 1+len(name)/6 || len(name) > 2 && strings.HasPrefix(f.Name, name)) {
			near = append(near, f.Name)
		}
	}
	cmd.LocalFlags().VisitAll(look)
	cmd.InheritedFlags().VisitAll(look)
	return near
}

// slips counts the letters that one must add, take away, change or swap with the
// next to make b of a.
func slips(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
