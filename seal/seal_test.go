package seal_test

import (
	"bytes"
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
