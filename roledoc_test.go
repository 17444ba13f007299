package corp

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// The table of roles in docs/people.md is the one in force.
func TestTheDocumentedRolesAreTheTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/people.md")
	if err != nil {
		t.Fatal(err)
	}
	roles := []Role{RoleViewer, RoleMember, RoleAdmin, RoleOwner}
	var want strings.Builder
	want.WriteString("| action | viewer | member | admin | owner |\n|---|---|---|---|---|\n")
	for _, action := range slices.Sorted(maps.Keys(least)) {
		fmt.Fprintf(&want, "| `%s` |", action)
		for _, r := range roles {
			mark := "  "
			if r.May(action) {
				mark = " yes "
			}
			want.WriteString(mark + "|")
		}
		want.WriteString("\n")
	}
	if !strings.Contains(string(page), want.String()) {
		t.Errorf("docs/people.md does not hold this table:\n%s", want.String())
	}
}
