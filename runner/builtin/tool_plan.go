package builtin

import (
	"context"
	"fmt"
)

const (
	maxPlanEntries = 50
	maxPlanText    = 500 // bytes of one entry
)

type planEntry struct {
	Content  string `json:"content"`
	Priority string `json:"priority"`
	Status   string `json:"status"`
}

type planInput struct {
	Entries []planEntry `json:"entries"`
}

func planTool() tool {
	return define("plan",
		"Keep a plan of a task with several steps, for the people who follow it. Give the whole list each time. Mark one step in_progress before you begin it and completed as soon as it is done.",
		`{"type":"object","properties":{"entries":{"type":"array","items":{"type":"object","properties":{"content":{"type":"string"},"status":{"type":"string","enum":["pending","in_progress","completed"]},"priority":{"type":"string","enum":["high","medium","low"]}},"required":["content","status"]}}},"required":["entries"]}`,
		func(w *workbench, in planInput) call {
			return call{title: "Plan", kind: kindThink, reads: true, do: func(context.Context) result { return plan(w, in) }}
		})
}

func plan(w *workbench, in planInput) result {
	if len(in.Entries) == 0 || len(in.Entries) > maxPlanEntries {
		return failure(misused("A plan has 1 to %d entries.", maxPlanEntries))
	}
	done := 0
	for i, e := range in.Entries {
		switch e.Status {
		case "completed":
			done++
		case "pending", "in_progress":
		default:
			return failure(misused("Entry %d has the status %q; it must be pending, in_progress or completed.", i+1, clip(e.Status, 50)))
		}
		switch e.Priority {
		case "high", "medium", "low":
		default:
			in.Entries[i].Priority = "medium"
		}
		if e.Content == "" {
			return failure(misused("Entry %d has no content.", i+1))
		}
		in.Entries[i].Content = clip(e.Content, maxPlanText)
	}
	w.plan(in.Entries)
	return result{text: fmt.Sprintf("Noted: %d of %d steps are done.", done, len(in.Entries))}
}
