//go:build mutations

package api

import (
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	_ "unsafe" // for the tables of roles, which production keeps to itself

	"github.com/prometheus/client_golang/prometheus"

	"github.com/genericcorp/corp"
)

// special is the vocabulary's own table, so that a cell of it can be wrong for a
// while; nothing but this test reaches it.
//
//go:linkname special github.com/genericcorp/corp.special
var special map[corp.Role][]corp.Action

// slip is a deliberate fault in who may do what.
type slip struct {
	kind, name string
	plant      func(t *testing.T, h *house) (at *house, undo func())
	table      []operation       // as it is then
	ops        []operation       // that are walked
	as         func(caller) bool // who walks

	written, behaviour string // the first that each said of it
}

// Attack case 39. Control: the walk without a fault, which is TestEveryOperationWithEveryRole.
//
// Each operation is given to those who may not use it, and each cell of the table of
// roles says yes where it says no, one at a time, in a server that runs. "make
// test-mutations" runs it.
func TestEveryRightThatNobodyShouldHaveIsNoticed(t *testing.T) {
	h := shared(t)
	all := slices.Concat(weakened(), flipped(t))
	began := time.Now()
	for _, s := range all {
		at, undo := s.plant(t, h)
		if said := writtenFaults(s.table, actions(t)); len(said) > 0 {
			s.written = said[0]
		}
		for _, op := range s.ops {
			refused := slices.DeleteFunc(slices.Clone(callers), func(c caller) bool { return c.far || expected(op, c) == op.success() || !s.as(c) })
			if _, faults := walk(t, h, at, op, refused); len(faults) > 0 {
				s.behaviour = faults[0]
				break
			}
		}
		undo()
		if s.written == "" && s.behaviour == "" {
			t.Errorf("%s: %s: written down %q, behaviour %q", s.kind, s.name, s.written, s.behaviour)
		}
	}
	sum(all, time.Since(began))
}

// weakened gives each operation an action that more may do: everybody, everybody who
// is known, everybody who is signed in, every viewer.
func weakened() (all []*slip) {
	for i, op := range operations {
		for rank, action := range []corp.Action{public, signedIn, person, corp.WorkspaceRead} {
			was := slices.Index([]corp.Action{public, signedIn, person, corp.WorkspaceRead}, op.action)
			viewers := was < 0 && corp.RoleViewer.May(op.action)
			if was >= 0 && rank >= was || viewers && action == corp.WorkspaceRead || op.action == person && action == corp.WorkspaceRead {
				continue
			}
			table := slices.Clone(operations)
			table[i].action = action
			all = append(all, &slip{
				kind: "operation open to " + who(action), name: op.id, table: table, ops: []operation{op}, as: func(caller) bool { return true },
				plant: func(t *testing.T, h *house) (*house, func()) { return h.rebuilt(t, table) },
			})
		}
	}
	return all
}

func who(action corp.Action) string {
	if word, own := ownActions[action]; own {
		return word
	}
	return "viewers"
}

// rebuilt is a server beside the house's, with another table of operations.
func (h *house) rebuilt(t *testing.T, table []operation) (at *house, undo func()) {
	t.Helper()
	config, was := h.api.Config, operations
	registry := prometheus.NewRegistry()
	config.Registerer, config.Gatherer = registry, registry
	operations = table
	made, err := New(config)
	operations = was
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(made.Handler())
	return &house{url: server.URL}, server.Close
}

// flipped has each role do each action that it may not.
func flipped(t *testing.T) (all []*slip) {
	t.Helper()
	for _, role := range corp.Roles() {
		for _, action := range actions(t) {
			if role.May(action) {
				continue
			}
			var ops []operation
			if role != corp.RoleRun { // a run's key is no credential of the API's, whatever its role may
				ops = slices.DeleteFunc(slices.Clone(operations), func(op operation) bool { return op.action != action })
			}
			all = append(all, &slip{
				kind: "cell of the roles: " + string(role), name: string(role) + " may " + string(action), table: operations, ops: ops[:min(1, len(ops))],
				as: func(c caller) bool { return c.role == role },
				plant: func(_ *testing.T, h *house) (*house, func()) {
					before := special[role]
					special[role] = append(slices.Clone(before), action)
					return h, func() { special[role] = before }
				},
			})
		}
	}
	return all
}

// sum prints what became of each kind of fault.
func sum(all []*slip, took time.Duration) {
	var kinds []string
	sums := map[string]*[4]int{}
	for _, s := range all {
		for _, kind := range []string{s.kind, "all"} {
			if sums[kind] == nil {
				kinds, sums[kind] = append(kinds, kind), &[4]int{}
			}
			n := sums[kind]
			n[0]++
			for i, noticed := range []bool{s.written != "" || s.behaviour != "", s.written != "", s.behaviour != ""} {
				if noticed {
					n[i+1]++
				}
			}
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-36s | %-12s | %12s | %9s\n", "fault in who may do what", "noticed", "written down", "behaviour")
	for _, kind := range kinds {
		n := sums[kind]
		fmt.Fprintf(&table, "%-36s | %4d of %4d | %12d | %9d\n", kind, n[1], n[0], n[2], n[3])
	}
	n := sums["all"]
	_, _ = fmt.Fprintf(os.Stdout, "\n%s\nmutations of the roles: %d of %d noticed (written down %d, behaviour %d), in %v\n", table.String(), n[1], n[0], n[2], n[3], took.Round(time.Second))
}
