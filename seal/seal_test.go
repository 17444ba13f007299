package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/genericcorp/corp/seal"
)

func ring(t *testing.T, fill byte) *seal.Ring {
	t.Helper()
	r, err := seal.New(bytes.Repeat([]byte{fill}, seal.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Attack case 41. Control: it opens in its own place.
func TestSealedValueOpensOnlyInItsPlace(t *testing.T) {
	t.Parallel()
	r := ring(t, 1)
	sealed := r.Seal([]byte("vendor key"), "ws_1", "provider", "provider_1")
	plain, err := r.Open(sealed, "ws_1", "provider", "provider_1")
	if err != nil || string(plain) != "vendor key" {
		t.Fatalf("Open = %q, %v", plain, err)
	}
	for _, place := range [][]string{
		{"ws_2", "provider", "provider_1"},
		{"ws_1", "repository", "provider_1"},
		{"ws_1", "provider", "provider_2"},
		{"ws_1", "provider"},
		{"ws_1provider", "", "provider_1"}, // the same letters, cut elsewhere
		{},
	} {
		if _, err := r.Open(sealed, place...); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("opened in %q: %v", place, err)
		}
	}
	if _, err := ring(t, 2).Open(sealed, "ws_1", "provider", "provider_1"); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another secret opened it: %v", err)
	}
}

// Attack case 41. Control: the untouched value opens.
func TestAnyChangedOrMissingByteIsRefused(t *testing.T) {
	t.Parallel()
	r := ring(t, 1)
	sealed := r.Seal([]byte("k"), "a")
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := r.Open(changed, "a"); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := r.Open(sealed[:i], "a"); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if bytes.Equal(sealed, r.Seal([]byte("k"), "a")) {
		t.Error("two seals of the same value are equal")
	}
	if empty, err := r.Open(r.Seal(nil, "a"), "a"); err != nil || len(empty) != 0 {
		t.Errorf("the empty value came back as %q, %v", empty, err)
	}
}

func TestHashIsKeyedAndSteady(t *testing.T) {
	t.Parallel()
	a, b := ring(t, 1), ring(t, 2)
	if !bytes.Equal(a.Hash("gc_run_x"), a.Hash("gc_run_x")) || len(a.Hash("x")) != 32 {
		t.Error("the hash of a credential changed")
	}
	if bytes.Equal(a.Hash("gc_run_x"), b.Hash("gc_run_x")) || bytes.Equal(a.Hash("gc_run_x"), a.Hash("gc_run_y")) {
		t.Error("two hashes meet")
	}
}

func TestHashesAtTheSameTimeDoNotMeet(t *testing.T) {
	t.Parallel()
	r, all := ring(t, 1), sync.WaitGroup{}
	want := make([][]byte, 8)
	for i := range want {
		want[i] = ring(t, 1).Hash(strings.Repeat("s", i)) // of another ring, alone
	}
	for i := range want {
		all.Go(func() {
			for range 500 {
				if got := r.Hash(strings.Repeat("s", i)); !bytes.Equal(got, want[i]) {
					t.Errorf("the hash of secret %d is %x, want %x", i, got, want[i])
					return
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkHash(b *testing.B) {
	r, err := seal.New(make([]byte, seal.SecretSize))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Hash("gc_live_000000000000000000000000000000000000")
	}
}

func TestASigningKeyBelongsToItsSecretAndItsUse(t *testing.T) {
	t.Parallel()
	key := func(r *seal.Ring, label string) ed25519.PrivateKey {
		k, err := r.SigningKey(label)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a := key(ring(t, 1), "audit")
	if !a.Equal(key(ring(t, 1), "audit")) {
		t.Error("the same secret makes another key")
	}
	if a.Equal(key(ring(t, 2), "audit")) || a.Equal(key(ring(t, 1), "tokens")) {
		t.Error("two keys are the same")
	}
	if public := a.Public().(ed25519.PublicKey); !ed25519.Verify(public, []byte("m"), ed25519.Sign(a, []byte("m"))) {
		t.Error("the key does not sign")
	}
}

func TestSecretsOfAnotherLengthAreRefused(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := seal.New(make([]byte, n)); err == nil {
			t.Errorf("%d bytes were accepted", n)
		}
	}
}

func TestLoadMakesOneSecretForAllWhoStartAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	hashes := make([]string, 16)
	var wg sync.WaitGroup
	for i := range hashes {
		wg.Go(func() {
			r, err := seal.Load(path)
			if err != nil {
				t.Error(err)
				return
			}
			hashes[i] = string(r.Hash("same"))
		})
	}
	wg.Wait()
	for _, h := range hashes {
		if h != hashes[0] {
			t.Fatal("two processes use different secrets")
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o, want 0600", info.Mode().Perm())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files left, want the secret alone (%v)", len(left), err)
	}
}

func TestLoadRefusesWhatIsNotAPrivateSecret(t *testing.T) {
	t.Parallel()
	whole := strings.Repeat("ab", seal.SecretSize)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"group may read":  {whole + "\n", 0o640},
		"world may read":  {whole + "\n", 0o604},
		"empty":           {"", 0o600},
		"torn":            {whole[:20], 0o600},
		"not hexadecimal": {strings.Repeat("zz", seal.SecretSize), 0o600},
		"too long":        {whole + "ab", 0o600},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Load(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != c.text {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
	if _, err := seal.Load(t.TempDir()); err == nil {
		t.Error("a folder was accepted")
	}
	if _, err := seal.Load(filepath.Join(t.TempDir(), "no", "secret")); err == nil {
		t.Error("a missing folder was accepted")
	}
}

func TestWhatIsDerivedFollowsFromSecretPurposeAndFileAlone(t *testing.T) {
	t.Parallel()
	one, err := seal.New([]byte(strings.Repeat("1", seal.SecretSize)))
	if err != nil {
		t.Fatal(err)
	}
	again, err := seal.New([]byte(strings.Repeat("1", seal.SecretSize)))
	if err != nil {
		t.Fatal(err)
	}
	other, err := seal.New([]byte(strings.Repeat("2", seal.SecretSize)))
	if err != nil {
		t.Fatal(err)
	}
	seed := one.Derive("refresh", "gc_refresh_x")
	if seed != again.Derive("refresh", "gc_refresh_x") {
		t.Error("the same secret derives differently on another server")
	}
	for name, different := range map[string][32]byte{
		"purpose": one.Derive("refresh2", "gc_refresh_x"), "secret": one.Derive("refresh", "gc_refresh_y"), "file": other.Derive("refresh", "gc_refresh_x"),
		"boundary": one.Derive("refreshgc", "_refresh_x"), "hash": [32]byte(one.Hash("gc_refresh_x")),
	} {
		if seed == different {
			t.Errorf("the %s does not matter", name)
		}
	}
}
