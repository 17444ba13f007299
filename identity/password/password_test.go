package password_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/password"
)

// cheap keeps the tests quick; what is tested does not depend on the cost.
var cheap = password.Cost{Memory: 64, Passes: 1, Lanes: 1}

func TestOnlyTheSamePasswordIsRight(t *testing.T) {
	t.Parallel()
	h := password.New(cheap)
	for _, secret := range []string{"tulip-anvil-marsh", " leading and trailing ", strings.Repeat("é", 500), "nul\x00inside", "\xff\xfe not utf-8"} {
		stored, err := h.Hash(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		if ok, upgrade, err := h.Verify(t.Context(), stored, secret); !ok || upgrade || err != nil {
			t.Errorf("%q: ok %v, upgrade %v, %v", secret, ok, upgrade, err)
		}
		for _, wrong := range []string{"", secret + " ", strings.TrimSpace(secret) + "x", strings.ToUpper(secret) + "!", secret[:len(secret)-1], secret + strings.Repeat("a", 1024)} {
			if ok, _, err := h.Verify(t.Context(), stored, wrong); ok || err != nil {
				t.Errorf("%q passes for %q (%v)", wrong, secret, err)
			}
		}
	}
	one, _ := h.Hash(t.Context(), "tulip-anvil-marsh")
	two, _ := h.Hash(t.Context(), "tulip-anvil-marsh")
	if one == two {
		t.Error("two hashes of one password are the same")
	}
	if !strings.HasPrefix(one, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("not a PHC string: %s", one)
	}
}

func TestAHashOfLowerCostIsToBeReplaced(t *testing.T) {
	t.Parallel()
	old, today := password.New(cheap), password.New(password.Cost{Memory: 128, Passes: 1, Lanes: 1})
	stored, err := old.Hash(t.Context(), "tulip-anvil-marsh")
	if err != nil {
		t.Fatal(err)
	}
	if ok, upgrade, err := today.Verify(t.Context(), stored, "tulip-anvil-marsh"); !ok || !upgrade || err != nil {
		t.Errorf("ok %v, upgrade %v, %v", ok, upgrade, err)
	}
	if ok, upgrade, _ := today.Verify(t.Context(), stored, "wrong-anvil-marsh"); ok || upgrade {
		t.Errorf("a wrong password upgrades (%v) or passes (%v)", upgrade, ok)
	}
	stronger, err := today.Hash(t.Context(), "tulip-anvil-marsh")
	if err != nil {
		t.Fatal(err)
	}
	if ok, upgrade, _ := old.Verify(t.Context(), stronger, "tulip-anvil-marsh"); !ok || upgrade {
		t.Errorf("a dearer hash: ok %v, upgrade %v", ok, upgrade)
	}
}

func TestBcryptIsVerifiedAndReplacedAndNeverTruncates(t *testing.T) {
	t.Parallel()
	h := password.New(cheap)
	made, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("a", 72)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"$2a$", "$2b$", "$2y$"} {
		stored := version + string(made[4:])
		if ok, upgrade, err := h.Verify(t.Context(), stored, strings.Repeat("a", 72)); !ok || !upgrade || err != nil {
			t.Errorf("%s: ok %v, upgrade %v, %v", version, ok, upgrade, err)
		}
		// The library itself says yes to this one.
		if ok, _, err := h.Verify(t.Context(), stored, strings.Repeat("a", 72)+"XYZ"); ok || err != nil {
			t.Errorf("%s: 75 bytes pass for 72 (%v)", version, err)
		}
		if ok, upgrade, err := h.Verify(t.Context(), stored, "wrong"); ok || upgrade || err != nil {
			t.Errorf("%s: wrong: ok %v, upgrade %v, %v", version, ok, upgrade, err)
		}
	}
	if bcrypt.CompareHashAndPassword(made, []byte(strings.Repeat("a", 72)+"XYZ")) != nil {
		t.Log("the library no longer truncates")
	}
}

func TestWhatIsNoHashIsRefusedWithoutWork(t *testing.T) {
	t.Parallel()
	h := password.New(cheap)
	good, _ := h.Hash(t.Context(), "tulip-anvil-marsh")
	for _, stored := range []string{
		"plain", "$", "$argon2id$", "$argon2i" + good[9:], strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=64", "m=4294967295", 1), strings.Replace(good, "m=64", "m=0", 1), strings.Replace(good, "m=64", "m=064", 1), strings.Replace(good, "m=64", "m=-1", 1),
		strings.Replace(good, "t=1", "t=4000000000", 1), strings.Replace(good, "p=1", "p=255", 1), strings.Replace(good, "p=1", "p=1,x=1", 1), strings.Replace(good, "p=1", "p=16", 1),
		good + "$", good + "=", good[:len(good)-40], "$2a$31$" + strings.Repeat("a", 53), "$2x$04$" + strings.Repeat("a", 53), "$2a$", good + strings.Repeat("A", 2000),
	} {
		if ok, upgrade, err := h.Verify(t.Context(), stored, "tulip-anvil-marsh"); ok || upgrade || !errors.Is(err, password.ErrHash) {
			t.Errorf("%q: ok %v, upgrade %v, %v", stored, ok, upgrade, err)
		}
	}
	if ok, _, err := h.Verify(t.Context(), "", ""); ok || err != nil {
		t.Errorf("no password at all is right: %v, %v", ok, err)
	}
}

// An unknown address must cost what a known one does: one hash, of the same cost.
// Attack case 57. Control: a password that is stored is verified, in TestOnlyTheSamePasswordIsRight.
func TestNothingStoredCostsWhatSomethingDoes(t *testing.T) {
	t.Parallel()
	type work struct {
		cost  password.Cost
		bytes uint32
	}
	h := password.New(password.Cost{Memory: 128, Passes: 2, Lanes: 1})
	stored, err := h.Hash(t.Context(), "tulip-anvil-marsh")
	if err != nil {
		t.Fatal(err)
	}
	var done []work
	h.Watch(func(c password.Cost, bytes uint32) { done = append(done, work{c, bytes}) })
	of := func(stored, secret string) []work {
		done = nil
		if ok, _, err := h.Verify(t.Context(), stored, secret); ok || err != nil {
			t.Fatal(ok, err)
		}
		return done
	}
	for _, secret := range []string{"something-else", "", strings.Repeat("x", 2*password.MaxBytes)} {
		known, unknown := of(stored, secret), of("", secret)
		if want := []work{{password.Cost{Memory: 128, Passes: 2, Lanes: 1}, 32}}; !slices.Equal(known, want) || !slices.Equal(unknown, want) {
			t.Errorf("%d bytes: a known person costs %v, an unknown one %v", len(secret), known, unknown)
		}
	}
}

func TestOnlySoManyHashesAtATimeAsThereAreProcessors(t *testing.T) {
	t.Parallel()
	h := password.New(password.Cost{Memory: 32 * 1024, Passes: 2, Lanes: 1})
	var wg sync.WaitGroup
	stop, done := context.WithCancel(t.Context())
	for range 8 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for stop.Err() == nil {
				_, _ = h.Hash(stop, "tulip-anvil-marsh")
			}
		})
	}
	// With every place taken and a queue before them, who gives up comes back at once.
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-late.Done()
	if _, _, err := h.Verify(late, "", "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a verification that nobody waits for went on: %v", err)
	}
	done()
	wg.Wait()
}

func TestCommonPasswordsAndOnesOwnNameAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"password", "PassWord1", "12345678", "qwertyuiop", "iloveyou", "sunshine", "letmein123", "aaaaaaaa", "abababab", "abcabcabc", "zyxwvuts", "abcdefghijkl",
		"genericcorp", "short", "1234567", "", "ada@example.com", "Ada Lovelace", "adaada", strings.Repeat("ab", 600),
	} {
		if err := password.Check(bad, "ada@example.com", "Ada Lovelace"); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%q is accepted (%v)", bad, err)
		}
	}
	for _, good := range []string{"tulip-anvil-marsh", "ääääööüü1x", "        x        ", strings.Repeat("tulip-anvil ", 80), "passwordpasswor", "日本語のパスワード"} {
		if err := password.Check(good, "ada@example.com", "Ada Lovelace"); err != nil {
			t.Errorf("%q is refused: %v", good, err)
		}
	}
}

func FuzzStoredHashes(f *testing.F) {
	h := password.New(password.Cost{Memory: 8, Passes: 1, Lanes: 1})
	good, _ := h.Hash(f.Context(), "tulip-anvil-marsh")
	for _, seed := range []string{good, "", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "$2a$04$" + strings.Repeat("a", 53), "$argon2id$v=19$m=,t=,p=$$"} {
		f.Add(seed, "x")
	}
	f.Fuzz(func(t *testing.T, stored, secret string) {
		if len(stored) > 200 || strings.Contains(stored, "m=") && !strings.Contains(stored, "m=8,t=1,") || len(stored) > 5 && strings.HasPrefix(stored, "$2") && stored[3:6] != "$04" {
			return // only what is cheap
		}
		ok, upgrade, err := h.Verify(t.Context(), stored, secret)
		if (err != nil && (ok || upgrade)) || (upgrade && !ok) || (ok && stored == "") {
			t.Errorf("%q with %q: ok %v, upgrade %v, %v", stored, secret, ok, upgrade, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := password.New(password.Default)
	stored, _ := h.Hash(b.Context(), "tulip-anvil-marsh")
	for b.Loop() {
		_, _, _ = h.Verify(b.Context(), stored, "tulip-anvil-marsh")
	}
}
