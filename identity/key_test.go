package identity_test

import (
	"bytes"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
)

// An installation that goes on with another secret signs people in all the same.
func TestSigningKeysOfALostSecretAreReplaced(t *testing.T) {
	t.Parallel()
	store := people.New(pgtest.Database(t).DB.Door())
	with := func(fill byte) *world {
		ring, err := seal.New(bytes.Repeat([]byte{fill}, seal.SecretSize))
		ok(t, err)
		return newWorld(t, func(c *identity.Config) { c.People, c.Ring = store, ring })
	}
	before := len(with(1).PublicKeys().Keys)
	after := with(2).PublicKeys().Keys
	if before == 0 || len(after) != before {
		t.Errorf("%d keys, then %d", before, len(after))
	}
	kept, err := store.System("test").SigningKeys(t.Context())
	if err != nil || len(kept) != before {
		t.Errorf("%d rows, %v", len(kept), err)
	}
	for _, k := range kept {
		if k.ID == (corp.SigningKeyID{}) || k.ID.String() != after[0].ID && k.ID.String() != after[len(after)-1].ID {
			t.Errorf("%s is not among those published", k.ID)
		}
	}
}

// Servers without a public URL have each an address of their own, and one name.
func TestATokenOfOneServerIsGoodAtTheOther(t *testing.T) {
	t.Parallel()
	store := people.New(pgtest.Database(t).DB.Door())
	at := func(address, issuer string) *world {
		return newWorld(t, func(c *identity.Config) { c.People, c.PublicURL, c.Issuer = store, address, issuer })
	}
	one, two, stranger := at("http://10.0.0.1:7070", "corp"), at("http://10.0.0.2:7070", "corp"), at("http://10.0.0.2:7070", "")
	text, issued, err := one.Tokens().Issue(token.Claims{User: corp.NewID[corp.UserID](), Session: corp.NewID[corp.SessionID]()})
	ok(t, err)
	if got, err := two.Tokens().Verify(text); err != nil || got != issued {
		t.Errorf("the other server reads %+v, %v", got, err)
	}
	if _, err := stranger.Tokens().Verify(text); err == nil {
		t.Error("an installation of another name takes it")
	}
}
