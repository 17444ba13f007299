package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/genericcorp/corp"
)

// The kinds of tool calls in the protocol that this agent makes.
const (
	kindRead    = "read"
	kindSearch  = "search"
	kindEdit    = "edit"
	kindExecute = "execute"
	kindThink   = "think"
)

// workbench is what tools work with.
type workbench struct {
	checkout *checkout
	cfg      Config
	plan     func([]planEntry) // shows a plan to the client
}

// location is a file that a tool call concerns, for a client that follows along.
type location struct {
	Path string `json:"path"`           // absolute
	Line int    `json:"line,omitempty"` // from 1
}

// diff is what a tool call changed. Of a large file it holds the changed passage.
type diff struct {
	Type string         `json:"type"` // "diff"
	Path string         `json:"path"` // absolute
	Old  *string        `json:"oldText"`
	New  string         `json:"newText"`
	Meta map[string]any `json:"_meta,omitempty"`
}

// result is what a tool call came to.
type result struct {
	text    string // for the model, and for people
	failed  bool
	diff    *diff
	changed bool   // a file of the checkout is not as it was
	digest  string // of the file that was written; a repeat must come to the same
	stop    *stop  // the turn cannot go on
}

// call is one prepared tool call.
type call struct {
	title     string
	kind      string
	locations []location
	input     json.RawMessage // shown to the client; nil if the result shows it better
	reads     bool            // changes nothing, so it may run beside others of the kind
	do        func(context.Context) result
}

// tool is something the model can call.
type tool struct {
	spec    toolSpec
	prepare func(*workbench, json.RawMessage) (call, error)
}

// define makes a tool whose input is of type I.
func define[I any](name, description, schema string, prepare func(*workbench, I) call) tool {
	return tool{
		spec: toolSpec{Name: name, Description: description, InputSchema: json.RawMessage(schema)},
		prepare: func(w *workbench, raw json.RawMessage) (call, error) {
			var input I
			if len(raw) == 0 {
				raw = json.RawMessage("{}")
			}
			if err := json.Unmarshal(raw, &input); err != nil {
				return call{}, misused("The input of %s cannot be read: %v. It must match this schema: %s", name, err, schema)
			}
			return prepare(w, input), nil
		},
	}
}

// toolbox is every tool, in the order in which the model is told of them: a
// fixed one, because the vendor's cache goes by the exact beginning.
func toolbox() []tool {
	return []tool{readTool(), listTool(), searchTool(), editTool(), writeTool(), runTool(), planTool()}
}

// prepareCall finds the tool and reads its input. An unknown tool or a wrong
// input becomes a call that fails with help.
func prepareCall(w *workbench, tools []tool, use block, cut bool) call {
	var c call
	var err error = misused("There is no tool %q. There are: %s.", clip(use.Name, 100), toolNames(tools))
	switch {
	case cut:
		err = misused("This call was cut off at your limit of %d output tokens, so nothing of it was carried out. Make it smaller: change one place at a time with edit, or write a long file in several steps.", w.cfg.MaxTokens)
	default:
		for _, t := range tools {
			if t.spec.Name == use.Name {
				c, err = t.prepare(w, use.Input)
				break
			}
		}
	}
	if err != nil {
		return call{title: clip(use.Name, 100), kind: "other", reads: true, do: func(context.Context) result { return failure(err) }}
	}
	return c
}

func toolNames(tools []tool) string {
	var names []string
	for _, t := range tools {
		names = append(names, t.spec.Name)
	}
	return strings.Join(names, ", ")
}

// failure tells the model what went wrong. A full disk ends the turn: the model
// cannot make room that it knows nothing of, and would only try again.
func failure(err error) result {
	r := result{text: err.Error(), failed: true}
	if _, ok := errors.AsType[misuse](err); ok {
		return r
	}
	if isFull(err) {
		r.text = "There is no space left on the disk. Nothing was changed."
		r.stop = stopped(corp.ReasonDiskFull, "There is no space left in the checkout: %v. Free some on the runner, or give it a larger disk.", err)
		return r
	}
	if errors.Is(err, context.Canceled) {
		r.text = "Cancelled."
		return r
	}
	r.text = fmt.Sprintf("This failed on the machine's side: %v.", err)
	return r
}
