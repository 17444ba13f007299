package api

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/door"
)

// This file is what the operator does when something has happened: see
// docs/security/incidents.md.

// SuspensionInput names a workspace in the path.
type SuspensionInput struct {
	Workspace string `path:"workspace" maxLength:"80" doc:"Short name or id."`
}

func (a *API) suspendWorkspace(ctx context.Context, _ corp.Identity, in *SuspensionInput) (*body[corp.Workspace], error) {
	return answer(a.system("operator suspends a workspace").Suspend(ctx, in.Workspace, true))
}

func (a *API) resumeWorkspace(ctx context.Context, _ corp.Identity, in *SuspensionInput) (*body[corp.Workspace], error) {
	return answer(a.system("operator resumes a workspace").Suspend(ctx, in.Workspace, false))
}

// Somebody's address stands in the body: a path is written into logs.
type personInput struct {
	Body struct {
		Person string `json:"person" minLength:"3" maxLength:"254" doc:"Their id or e-mail address."`
	}
}

func (a *API) disablePerson(ctx context.Context, _ corp.Identity, in *personInput) (*body[corp.Person], error) {
	return a.keepOut(ctx, in.Body.Person, true)
}

func (a *API) enablePerson(ctx context.Context, _ corp.Identity, in *personInput) (*body[corp.Person], error) {
	return a.keepOut(ctx, in.Body.Person, false)
}

func (a *API) keepOut(ctx context.Context, who string, disabled bool) (*body[corp.Person], error) {
	system := a.outbox("operator keeps somebody out, or lets them in")
	known, err := system.Known(ctx, who)
	if err != nil {
		return nil, err
	}
	door.Describe(ctx, known.ID.String(), nil)
	if err := system.Disable(ctx, known.ID, disabled); err != nil {
		return nil, err
	}
	return answer(system.Known(ctx, known.ID.String()))
}

type signOutInput struct {
	Body struct {
		Person    string `json:"person,omitempty" maxLength:"254" doc:"Their id or e-mail address."`
		Everybody bool   `json:"everybody,omitempty" doc:"Instead of one person."`
	}
}

func (a *API) signOutPeople(ctx context.Context, _ corp.Identity, in *signOutInput) (*body[corp.SignedOut], error) {
	if in.Body.Everybody == (in.Body.Person != "") {
		return nil, corp.Invalid("person", "Either one person is signed out or everybody.", "Give a person or everybody, and not both.")
	}
	system := a.outbox("operator signs people out")
	var id corp.UserID // everybody
	if !in.Body.Everybody {
		known, err := system.Known(ctx, in.Body.Person)
		if err != nil {
			return nil, err
		}
		id = known.ID
		door.Describe(ctx, id.String(), nil)
	}
	if in.Body.Everybody {
		door.Describe(ctx, "everybody", nil)
	}
	ended, err := system.SignOut(ctx, id)
	return answer(corp.SignedOut{Sessions: ended}, err)
}

type rotateKeysInput struct {
	Body struct {
		Gently bool `json:"gently,omitempty" doc:"Tokens that the old keys signed go on until their ten minutes are over. Not when a key was stolen: it may sign more of them for an hour."`
	}
}

func (a *API) rotateSigningKeys(ctx context.Context, _ corp.Identity, in *rotateKeysInput) (*body[token.JWKS], error) {
	f, err := a.flows()
	if err != nil {
		return nil, err
	}
	door.Describe(ctx, "signing keys", in.Body)
	if err := f.RotateKeys(ctx, in.Body.Gently); err != nil {
		return nil, err
	}
	return &body[token.JWKS]{f.PublicKeys()}, nil
}

type revokeKeyInput struct {
	Body struct {
		Key     string `json:"key" minLength:"8" maxLength:"254" doc:"Its id, what is shown of it (gc_live_AbCd…wxyz), or the key itself."`
		ThisOne bool   `json:"this_one,omitempty" doc:"Also if it is the one that asks."`
	}
}

func (a *API) revokeAnyKey(ctx context.Context, who corp.Identity, in *revokeKeyInput) (*body[corp.RevokedKeys], error) {
	gone, err := a.system("operator revokes a key").RevokeKey(ctx, in.Body.Key, inUse(who, in.Body.ThisOne))
	return answer(corp.RevokedKeys{Keys: door.OrEmpty(gone)}, err)
}

type revokeOwnKeysInput struct {
	Body struct {
		Role    corp.Role `json:"role" enum:"operator,runner" doc:"runner: those of the pool's runners."`
		Name    string    `json:"name,omitempty" maxLength:"200" doc:"Only those of this name, which says what made them."`
		ThisOne bool      `json:"this_one,omitempty" doc:"Also the one that asks."`
	}
}

func (a *API) revokeOperatorKeys(ctx context.Context, who corp.Identity, in *revokeOwnKeysInput) (*body[corp.RevokedKeys], error) {
	gone, err := a.system("operator revokes keys of the installation").RevokeOperatorKeys(ctx, in.Body.Role, in.Body.Name, inUse(who, in.Body.ThisOne))
	return answer(corp.RevokedKeys{Keys: door.OrEmpty(gone)}, err)
}

// inUse is the key that asks, unless it is meant, too.
func inUse(who corp.Identity, meant bool) (id corp.OperatorID) {
	if !meant {
		id, _ = corp.ParseID[corp.OperatorID](string(who.Via))
	}
	return id
}
