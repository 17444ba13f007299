package corp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestRolesAreALadderAndTheRestAreClosedLists(t *testing.T) {
	t.Parallel()
	ladderUp := []Role{RoleViewer, RoleMember, RoleAdmin, RoleOwner}
	for action := range least {
		for i := 1; i < len(ladderUp); i++ {
			if ladderUp[i-1].May(action) && !ladderUp[i].May(action) {
				t.Errorf("%s may %s and %s may not", ladderUp[i-1], action, ladderUp[i])
			}
		}
		for role := range special {
			if role.May(action) {
				t.Errorf("%s may %s, an action of people", role, action)
			}
		}
	}
	for _, r := range Roles() {
		if r.May("") || r.May("no.such.action") {
			t.Errorf("%s may do an action that is not in the table", r)
		}
	}
	if Role("").May(TaskRead) || Role("root").May(TaskRead) {
		t.Error("an unknown role may read tasks")
	}
	if RoleRun.May(TaskRead) || !RoleRun.May(ModelCall) || RoleOwner.May(WorkspaceManage) || !RoleOperator.May(WorkspaceManage) {
		t.Error("a run only calls models, and only the operator manages workspaces")
	}
}

func TestSecretsCarryTheirKindAndRefuseTypos(t *testing.T) {
	t.Parallel()
	for _, prefix := range secretPrefixes {
		s := NewSecret(prefix)
		if got, ok := SecretPrefix(s); !ok || got != prefix {
			t.Errorf("%s… is taken for %q, %v", prefix, got, ok)
		}
		typo := []byte(s)
		typo[len(prefix)+3] ^= 1
		if _, ok := SecretPrefix(string(typo)); ok {
			t.Errorf("a mistyped %s key passes its checksum", prefix)
		}
		if shown := ShownSecret(s); len(shown) > len(prefix)+12 || strings.Contains(s, shown) {
			t.Errorf("%q shows too much", shown)
		}
	}
	if one, two := NewSecret(KeyPrefixLive), NewSecret(KeyPrefixLive); one == two {
		t.Error("two secrets are the same")
	}
}

func TestASecretOfASeedIsAlwaysTheSame(t *testing.T) {
	t.Parallel()
	seed := [32]byte{1, 2, 3}
	one, two := SecretOf(KeyPrefixRefresh, seed), SecretOf(KeyPrefixRefresh, seed)
	if prefix, ok := SecretPrefix(one); one != two || !ok || prefix != KeyPrefixRefresh || len(one) != len(NewSecret(KeyPrefixRefresh)) {
		t.Errorf("%q and %q, %v", one, two, ok)
	}
	for i := range seed {
		other := seed
		other[i] ^= 1
		if got := SecretOf(KeyPrefixRefresh, other); got == one {
			t.Errorf("byte %d of the seed does not matter", i)
		}
	}
}

func TestKindsSurviveWrapping(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	err := fmt.Errorf("submit task: %w", &Error{Kind: KindConflict, Message: "No.", Err: cause})
	if KindOf(err) != KindConflict || !errors.Is(err, cause) {
		t.Errorf("kind %s, cause found %v", KindOf(err), errors.Is(err, cause))
	}
	if KindOf(cause) != KindInternal || KindOf(nil) != "" {
		t.Error("a strange error is internal, no error has no kind")
	}
}

func TestEveryReasonIsListedOnce(t *testing.T) {
	t.Parallel()
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r] {
			t.Errorf("%q is listed twice", r)
		}
		seen[r] = true
	}
	for _, final := range []Reason{ReasonCompleted, ReasonCheckFailed, ReasonBudget, ReasonCancelled, ReasonTimeout, ReasonBase} {
		if final.Retryable() {
			t.Errorf("%q would be tried again", final)
		}
	}
}
