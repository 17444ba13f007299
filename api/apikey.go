package api

import (
	"context"
	"strings"
	"time"

	"github.com/genericcorp/corp"
)

// apiKeyRequest mirrors client.APIKeyRequest.
type apiKeyRequest struct {
	Name      string     `json:"name" minLength:"1" maxLength:"80" doc:"For people: where the key is used."`
	Role      corp.Role  `json:"role" enum:"viewer,member,admin,owner,runner"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"Never, when left out."`
}

// newAPIKey mirrors client.NewAPIKey.
type newAPIKey struct {
	APIKey corp.APIKey `json:"api_key"`
	Key    string      `json:"key" doc:"Shown this once."`
}

type createAPIKeyInput struct{ Body apiKeyRequest }

type apiKeyInput struct {
	Key corp.APIKeyID `path:"key"`
}

func (a *API) apiKeys(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.APIKey]], error) {
	return answerList(a.DB.In(who.Workspace).APIKeys(ctx, in.page()))
}

func (a *API) createAPIKey(ctx context.Context, who corp.Identity, in *createAPIKeyInput) (*body[newAPIKey], error) {
	ask := in.Body
	if strings.TrimSpace(ask.Name) == "" {
		return nil, corp.Invalid("name", "A key must have a name.", "Say where it is used.")
	}
	if ask.Role != corp.RoleRunner && !ask.Role.AtMost(who.Role) {
		return nil, &corp.Error{Kind: corp.KindForbidden, Field: "role", Message: "Nobody makes a key with a higher role than their own.", Hint: "Ask for " + string(who.Role) + " or less."}
	}
	if ask.ExpiresAt != nil && !ask.ExpiresAt.After(time.Now()) {
		return nil, corp.Invalid("expires_at", "That time is over.", "Give a time to come, or leave it out.")
	}
	prefix := corp.KeyPrefixLive
	if ask.Role == corp.RoleRunner {
		prefix = corp.KeyPrefixRunner
	}
	secret := corp.NewSecret(prefix)
	key, err := a.DB.In(who.Workspace).CreateAPIKey(ctx, who.Actor, newKey(who.Actor, ask.Name, ask.Role, secret, ask.ExpiresAt), a.Ring.Hash(secret))
	if err != nil {
		return nil, err
	}
	return &body[newAPIKey]{newAPIKey{key, secret}}, nil
}

func (a *API) revokeAPIKey(ctx context.Context, who corp.Identity, in *apiKeyInput) (*body[corp.APIKey], error) {
	key, err := a.DB.In(who.Workspace).RevokeAPIKey(ctx, who.Actor, in.Key)
	if err == nil {
		a.auth.forgetActor(corp.Actor(in.Key.String()))
	}
	return answer(key, err)
}

func newKey(by corp.Actor, name string, role corp.Role, secret string, expires *time.Time) corp.APIKey {
	return corp.APIKey{
		ID: corp.NewID[corp.APIKeyID](), Name: name, Role: role, Prefix: corp.ShownSecret(secret),
		CreatedBy: by, CreatedAt: time.Now().UTC(), ExpiresAt: expires,
	}
}
