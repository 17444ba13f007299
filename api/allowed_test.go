package api

import (
	_ "embed"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

// allowedText is who may do what, written down by hand: the code has a table of
// operations and one of roles, and this is what both must be.
//
//go:embed testdata/allowed.txt
var allowedText string

// What stands there for the actions that are the API's own.
var ownActions = map[corp.Action]string{public: "everybody", signedIn: "known", person: "person"}

// allowed is a row for each action, with its roles, and one for each operation, with
// its action.
var allowedTo = readAllowed(allowedText)

func readAllowed(text string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			rows[words[0]] = words[1:]
		}
	}
	return rows
}

// writtenAction is what is written down that an operation does.
func writtenAction(op operation) string { return strings.Join(allowedTo[op.id], " ") }

// expected is what a caller must get.
func expected(op operation, c caller) int {
	action := writtenAction(op)
	switch {
	case action == ownActions[public]:
		return op.success()
	case c.role == "" && !c.session:
		return http.StatusUnauthorized
	case action == ownActions[signedIn], action == ownActions[person] && c.session:
		return op.success()
	case slices.Contains(allowedTo[action], string(c.role)) && (c.scope == "" || string(c.scope) == action):
		return op.success()
	default:
		return http.StatusForbidden
	}
}

// An operation without a row is not walked through, and the tables in the code are
// what is written down: whoever changes who may do what says so twice.
func TestWhoMayDoWhatIsWrittenDown(t *testing.T) {
	t.Parallel()
	for _, fault := range writtenFaults(operations, actions(t)) {
		t.Error(fault)
	}
}

func writtenFaults(table []operation, actions []corp.Action) (faults []string) {
	rows := map[string]string{}
	for _, action := range actions {
		var roles []string
		for _, r := range corp.Roles() {
			if r.May(action) {
				roles = append(roles, string(r))
			}
		}
		rows[string(action)] = strings.Join(roles, " ")
	}
	for _, op := range table {
		word, own := ownActions[op.action]
		if !own {
			word = string(op.action)
		}
		rows[op.id] = word
	}
	for name, row := range rows {
		if want := strings.Join(allowedTo[name], " "); want != row {
			faults = append(faults, "testdata/allowed.txt says: "+name+" "+want+"; the code: "+name+" "+row)
		}
	}
	for name := range allowedTo {
		if rows[name] == "" {
			faults = append(faults, "testdata/allowed.txt has a row of "+name+", which there is not")
		}
	}
	return faults
}

var actionLine = regexp.MustCompile(`(?m)^\t\w+ +Action = "([a-z.]+)"`)

// actions are all that the vocabulary has.
func actions(t *testing.T) (all []corp.Action) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "role.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range actionLine.FindAllStringSubmatch(string(source), -1) {
		all = append(all, corp.Action(found[1]))
	}
	if len(all) < 25 {
		t.Fatalf("only %d actions were found in role.go", len(all))
	}
	return all
}
