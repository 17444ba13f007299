package api

import (
	"bytes"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/genericcorp/corp"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml anew")

func described() *huma.OpenAPI {
	a := &API{Config: Config{Logger: slog.New(slog.DiscardHandler)}}
	return a.register(humago.NewAdapter(http.NewServeMux(), ""))
}

// Regenerate with: go test ./api -run Document -update
func TestTheCommittedDocumentIsWhatTheServerSays(t *testing.T) {
	t.Parallel()
	got, err := described().YAML()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("..", "docs", "openapi.yaml")
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(want, got) {
		return
	}
	old := strings.Split(string(want), "\n")
	for i, line := range strings.Split(string(got), "\n") {
		if i >= len(old) || old[i] != line {
			t.Fatalf("docs/openapi.yaml is out of date from line %d on (%q); run: go test ./api -run Document -update", i+1, line)
		}
	}
	t.Error("docs/openapi.yaml is out of date: it goes on after its end; run: go test ./api -run Document -update")
}

func TestEveryOperationSaysWhoMayUseItAndWhatGoesWrong(t *testing.T) {
	t.Parallel()
	document := described()
	n := 0
	for path, item := range document.Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op == nil {
				continue
			}
			n++
			action, _ := op.Metadata["action"].(corp.Action)
			if action == "" || action != public && len(op.Security) == 0 {
				t.Errorf("%s %s: no action or no security", method, path)
			}
			for _, status := range []string{"401", "403", "404"} {
				if action != public && op.Responses[status] == nil {
					t.Errorf("%s %s does not say %s", method, path, status)
				}
			}
			for segment := range strings.SplitSeq(path, "/") {
				name := strings.Trim(segment, "{}")
				if name != segment && !slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "path" && p.Name == name }) {
					t.Errorf("%s %s: its handler does not read {%s}", method, path, name)
				}
			}
			if op.Summary == "" || len(op.Tags) != 1 || strings.Contains(path, "workspace_id") {
				t.Errorf("%s %s: summary %q, tags %v", method, path, op.Summary, op.Tags)
			}
		}
	}
	if n != len(operations) {
		t.Errorf("%d operations are described, %d are in the table", n, len(operations))
	}
}

// Attack case 39. Control: the operations as they are do start.
func TestAnOperationWithoutAnActionDoesNotStart(t *testing.T) {
	t.Parallel()
	for _, action := range []corp.Action{"", "task.destroy"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the action %q was accepted", action)
				}
			}()
			operation{id: "x", route: "GET /x", action: action}.describe()
		}()
	}
}

// What goes beyond one workspace stands in two files, where a reader can see all of it.
func TestOnlyTwoFilesOpenTheDoorToAllWorkspaces(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") || name == "operator.go" || name == "incident.go" {
			continue
		}
		if strings.Contains(string(text), ".System(") || strings.Contains(string(text), "a.system(") {
			t.Errorf("%s opens the door to all workspaces", name)
		}
	}
}
