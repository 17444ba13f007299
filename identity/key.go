package identity

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/people"
)

// keysEvery is how often a server looks for new signing keys. They are published for
// much longer before they sign; only keys that replace lost ones sign at once.
const keysEvery = time.Minute

// Tokens is what verifies the access tokens that the flows issue.
func (f *Flows) Tokens() *token.Tokens { return f.tokens }

// PublicKeys is the document by which others verify them.
func (f *Flows) PublicKeys() token.JWKS { return f.keys.Document(f.Now()) }

// LoadKeys reads the signing keys of the installation, and makes what is missing.
// Keys that were sealed with another secret than the installation's present one are
// replaced: nobody can sign with them.
func (f *Flows) LoadKeys(ctx context.Context) error {
	kept, err := f.People.System("signing keys").KeepSigningKeys(ctx, f.nextKeys)
	if err != nil {
		return fmt.Errorf("load the signing keys: %w", err)
	}
	return f.adopt(kept)
}

// RotateKeys has another key sign from now on, on every server. The tokens that others
// signed are refused at once, or, gently, go on until their time is over.
func (f *Flows) RotateKeys(ctx context.Context, gently bool) error {
	kept, err := f.People.System("operator rotates signing keys").ReplaceSigningKeys(ctx, func(now time.Time, old []people.SigningKey) (add []people.SigningKey, drop []corp.SigningKeyID) {
		for _, k := range old {
			drop = append(drop, k.ID)
			if gently && k.ActiveFrom.Before(now) {
				k.RetiredAt = earlier(k.RetiredAt, now)
				add = append(add, k)
			}
		}
		fresh, _ := f.nextKeys(now, nil)
		return append(add, fresh...), drop
	})
	if err != nil {
		return fmt.Errorf("rotate the signing keys: %w", err)
	}
	return f.adopt(kept)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// KeysChanged has KeepKeys look for other keys now.
func (f *Flows) KeysChanged() {
	select {
	case f.keysChanged <- struct{}{}:
	default: // it is going to
	}
}

// adopt makes these the keys of this server.
func (f *Flows) adopt(kept []people.SigningKey) error {
	keys := make([]token.Key, 0, len(kept))
	for _, k := range kept {
		private, err := f.private(k)
		if err != nil {
			return err
		}
		keys = append(keys, token.Key{ID: k.ID, Public: k.Public, Private: private, ActiveFrom: k.ActiveFrom, RetiredAt: k.RetiredAt})
	}
	f.keys.Replace(keys)
	return nil
}

// KeepKeys loads the signing keys again and again until ctx ends, and when they are
// said to have changed.
func (f *Flows) KeepKeys(ctx context.Context) {
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.keysChanged:
		}
		if err := f.LoadKeys(ctx); err != nil && ctx.Err() == nil {
			f.Logger.ErrorContext(ctx, "signing keys not loaded", "error", err)
		}
	}
}

// nextKeys is the plan of the keys, in the rows that they are stored as.
func (f *Flows) nextKeys(now time.Time, kept []people.SigningKey) (add []people.SigningKey, drop []corp.SigningKeyID) {
	var have []token.Key
	var lost []corp.SigningKeyID
	for _, k := range kept {
		if _, err := f.private(k); err != nil {
			lost = append(lost, k.ID)
			continue
		}
		have = append(have, token.Key{ID: k.ID, ActiveFrom: k.ActiveFrom, RetiredAt: k.RetiredAt})
	}
	windows, drop := token.Plan(now, have)
	drop = append(drop, lost...)
	for _, w := range windows {
		k := token.NewKey(w)
		add = append(add, people.SigningKey{
			ID: k.ID, Public: k.Public, Private: f.Ring.Seal(k.Private, keyContext(k.ID)...), ActiveFrom: k.ActiveFrom, RetiredAt: k.RetiredAt,
		})
	}
	return add, drop
}

// private opens the half that signs.
func (f *Flows) private(k people.SigningKey) (ed25519.PrivateKey, error) {
	opened, err := f.Ring.Open(k.Private, keyContext(k.ID)...)
	if err == nil && len(opened) != ed25519.PrivateKeySize {
		err = errors.New("it is not of the right size")
	}
	if err != nil {
		return nil, fmt.Errorf("open the signing key %s: %w", k.ID, err)
	}
	return opened, nil
}

func keyContext(id corp.SigningKeyID) []string { return []string{"signing key", id.String()} }

func totpContext(id corp.UserID) []string { return []string{"second factor", id.String()} }
