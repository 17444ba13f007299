package api

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/seal"
)

// Attack case 12. Control: the right key is looked up once and accepted.
func TestAMistypedKeyIsRefusedWithoutALookUp(t *testing.T) {
	t.Parallel()
	ring, err := seal.New(make([]byte, seal.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	a := &API{Config: Config{Ring: ring}}
	a.auth = newAuthenticator(func(context.Context, string) (corp.Identity, error) {
		asked.Add(1)
		return corp.Identity{Role: corp.RoleOwner}, nil
	})
	good := corp.NewSecret(corp.KeyPrefixLive)
	for _, header := range []string{
		"", "Bearer", "Bearer ", "Basic " + good, good, "Bearer " + good + "x", "Bearer " + good[:len(good)-1], "Bearer  " + good,
		"Bearer " + swapped(good), "Bearer gc_live_" + strings.Repeat("0", 36), "Bearer sk-ant-123", "Bearer " + strings.Repeat("x", 1<<16),
		"Bearer " + corp.NewSecret(corp.KeyPrefixRun), "Bearer " + corp.NewSecret(corp.KeyPrefixLease), "Bearer gc_live_\x00", "bearer" + good,
	} {
		if _, _, err := a.identify(t.Context(), presented{header: header}); corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("%.50q: %v", header, err)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d look-ups for keys that are not whole", asked.Load())
	}
	for _, header := range []string{"Bearer " + good, "bearer " + good, "BEARER " + good} {
		if who, _, err := a.identify(t.Context(), presented{header: header}); err != nil || who.Role != corp.RoleOwner {
			t.Errorf("%.10s: %v", header, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d look-ups for one key", asked.Load())
	}
}

// swapped exchanges two neighbours, the commonest slip of a hand.
func swapped(key string) string {
	b := []byte(key)
	for i := len("gc_live_"); i < len(b)-1; i++ {
		if b[i] != b[i+1] {
			b[i], b[i+1] = b[i+1], b[i]
			break
		}
	}
	return string(b)
}

func TestARevokedKeyIsAcceptedForTwoSecondsAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		revoked, down := false, false
		au := newAuthenticator(func(context.Context, string) (corp.Identity, error) {
			switch {
			case down:
				return corp.Identity{}, errors.New("no database")
			case revoked:
				return corp.Identity{}, &corp.Error{Kind: corp.KindUnauthenticated}
			}
			return corp.Identity{Actor: "key_1"}, nil
		})
		use := func() error { _, err := au.identity(t.Context(), "h"); return err }
		if err := use(); err != nil {
			t.Fatal(err)
		}
		revoked = true
		<-time.After(2*time.Second - time.Millisecond)
		if err := use(); err != nil {
			t.Errorf("within the time: %v", err)
		}
		<-time.After(time.Millisecond)
		if err := use(); corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("after the time: %v", err)
		}
		revoked = false
		au.forget("h")
		if err := use(); err != nil {
			t.Errorf("after forgetting: %v", err)
		}
		revoked = true
		au.changed(postgres.Notice{Kind: postgres.NoticeResync})
		if err := use(); corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("after a notice: %v", err)
		}
		// A database that does not answer says nothing about the key.
		au.forget("h")
		down = true
		if err := use(); corp.KindOf(err) != corp.KindInternal {
			t.Errorf("without a database: %v", err)
		}
		revoked, down = false, false
		if err := use(); err != nil {
			t.Errorf("the failure was remembered: %v", err)
		}
	})
}

func TestAFloodOfKeysTakesBoundedMemory(t *testing.T) {
	t.Parallel()
	au := newAuthenticator(func(context.Context, string) (corp.Identity, error) {
		return corp.Identity{}, &corp.Error{Kind: corp.KindUnauthenticated}
	})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range maxIdentities / 2 {
				_, _ = au.identity(context.Background(), string(rune('a'+g))+itoa(i))
			}
		})
	}
	wg.Wait()
	if len(au.known) > maxIdentities {
		t.Errorf("%d identities are kept", len(au.known))
	}
}

func TestTheUseOfAKeyIsNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	touched, now := newTouches(), time.Now()
	if !touched.due("a", now) || touched.due("a", now.Add(59*time.Second)) || !touched.due("b", now) || !touched.due("a", now.Add(61*time.Second)) {
		t.Error("a use is due at first and then a minute later")
	}
}
