package api

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// apiKeyRequest mirrors client.APIKeyRequest.
type apiKeyRequest struct {
	Name      string        `json:"name" minLength:"1" maxLength:"80" doc:"For people: where the key is used."`
	Role      corp.Role     `json:"role" enum:"viewer,member,admin,owner,runner"`
	Service   bool          `json:"service,omitempty" doc:"The workspace's own, and not yours: it goes on when you leave. Keys that such a key makes always are."`
	Scopes    []corp.Action `json:"scopes,omitempty" maxItems:"50" doc:"Actions that the key is narrowed to; all that its role may, when left out."`
	Addresses []string      `json:"addresses,omitempty" maxItems:"50" doc:"Networks that it may be used from, like 203.0.113.0/24; anywhere, when left out."`
	ExpiresAt *time.Time    `json:"expires_at,omitempty" doc:"Never, when left out; with the key that makes it, if that one ends."`
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

type rotateAPIKeyInput struct {
	Key  corp.APIKeyID `path:"key"`
	Body struct {
		OverlapSeconds int `json:"overlap_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"How long the old key goes on, at most 30 days; it ends at once when left out."`
	}
}

// owner is whose keys the caller may see and end: all, for who manages the
// workspace's, which is the zero user; else their own.
func owner(who corp.Identity) (corp.UserID, error) {
	switch {
	case who.May(corp.APIKeyWrite):
		return corp.UserID{}, nil
	case who.User.IsZero():
		return corp.UserID{}, &corp.Error{Kind: corp.KindForbidden, Message: "Your key is nobody's, so it has no keys of its own.", Hint: "Use a key that has the action " + string(corp.APIKeyWrite) + ", or sign in."}
	default:
		return who.User, nil
	}
}

func (a *API) apiKeys(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.APIKey]], error) {
	whose, err := owner(who)
	if err != nil {
		return nil, err
	}
	return answerList(a.DB.In(who.Workspace).APIKeys(ctx, whose, in.page()))
}

func (a *API) createAPIKey(ctx context.Context, who corp.Identity, in *createAPIKeyInput) (*body[newAPIKey], error) {
	ask := in.Body
	ends, err := a.ends(ctx, who)
	if err != nil {
		return nil, err
	}
	inherit(who, ends, &ask)
	if err := checkKey(who, ends, &ask); err != nil {
		return nil, err
	}
	prefix := a.keyPrefix()
	if ask.Role == corp.RoleRunner {
		prefix = corp.KeyPrefixRunner
	}
	secret := corp.NewSecret(prefix)
	door.Describe(ctx, "", map[string]corp.Role{"role": ask.Role})
	wanted := newKey(who.Actor, ask.Name, ask.Role, secret, ask.ExpiresAt)
	wanted.Scopes, wanted.Addresses = ask.Scopes, ask.Addresses
	if !ask.Service {
		wanted.UserID = who.User
	}
	key, err := a.DB.In(who.Workspace).CreateAPIKey(ctx, who.Actor, wanted, a.Ring.Hash(secret))
	if err != nil {
		return nil, err
	}
	return &body[newAPIKey]{newAPIKey{key, secret}}, nil
}

// ends returns when the key that somebody uses does, which nothing that it makes
// outlives; nil of one that does not, and of a session. It is not asked for with each
// request, as the rest of an identity is.
func (a *API) ends(ctx context.Context, who corp.Identity) (*time.Time, error) {
	if !who.Session.IsZero() {
		return nil, nil
	}
	id, err := corp.ParseID[corp.APIKeyID](string(who.Via))
	if err != nil {
		return nil, fmt.Errorf("read who makes a key: %w", err)
	}
	key, err := a.DB.In(who.Workspace).APIKey(ctx, corp.UserID{}, id)
	return key.ExpiresAt, err
}

// inherit narrows a key to what the one that makes it is narrowed to, where nothing is
// said. A key of nobody's, and a runner's, are the workspace's own.
func inherit(who corp.Identity, ends *time.Time, ask *apiKeyRequest) {
	if ask.ExpiresAt == nil {
		ask.ExpiresAt = ends
	}
	ask.Service = ask.Service || who.User.IsZero() || ask.Role == corp.RoleRunner
	if who.Scopes != nil && len(ask.Scopes) == 0 && ask.Role != corp.RoleRunner {
		ask.Scopes = slices.DeleteFunc(slices.Clone(who.Scopes), func(s corp.Action) bool { return !ask.Role.May(s) })
	}
	if len(ask.Addresses) == 0 {
		for _, network := range who.Addresses {
			ask.Addresses = append(ask.Addresses, network.String())
		}
	}
}

// checkKey refuses a key that could do more than who makes it.
func checkKey(who corp.Identity, ends *time.Time, ask *apiKeyRequest) error {
	if strings.TrimSpace(ask.Name) == "" {
		return corp.Invalid("name", "A key must have a name.", "Say where it is used.")
	}
	switch {
	case ask.Service && !who.May(corp.APIKeyWrite):
		return beyond("service", "A key of the workspace's own is an admin's to make.", "Leave service out, for a key of your own.")
	case ask.Role == corp.RoleRunner && !who.May(corp.RunnerWrite):
		return beyond("role", "A runner's key is for who manages runners.", "Use a key that has the action "+string(corp.RunnerWrite)+", too.")
	case ask.Role != corp.RoleRunner && !ask.Role.AtMost(who.Role):
		return beyond("role", "Nobody makes a key with a higher role than their own.", "Ask for "+string(who.Role)+" or less.")
	case ask.ExpiresAt != nil && !ask.ExpiresAt.After(time.Now()):
		return corp.Invalid("expires_at", "That time is over.", "Give a time to come, or leave it out.")
	case ask.ExpiresAt != nil && ends != nil && ask.ExpiresAt.After(*ends):
		return beyond("expires_at", "Nobody makes a key that outlasts their own.", "Yours ends at "+ends.UTC().Format(time.RFC3339)+": give no later time, leave it out, or sign in.")
	}
	if err := checkScopes(who, ask); err != nil {
		return err
	}
	return checkNetworks(who, ask)
}

func beyond(field, message, hint string) error {
	return &corp.Error{Kind: corp.KindForbidden, Field: field, Message: message, Hint: hint}
}

func checkScopes(who corp.Identity, ask *apiKeyRequest) error {
	if who.Scopes != nil && len(ask.Scopes) == 0 && ask.Role != corp.RoleRunner {
		return beyond("scopes", "Nobody makes a key that may do more than their own.", "Your key is narrowed; this one is not, or shares no action with it.")
	}
	for i, scope := range ask.Scopes {
		field := fmt.Sprintf("scopes[%d]", i)
		switch {
		case !ask.Role.May(scope):
			return corp.Invalid(field, fmt.Sprintf("The role %s does not have the action %q.", ask.Role, scope), "Its actions are: "+actionsOf(ask.Role)+".")
		case who.Scopes != nil && !slices.Contains(who.Scopes, scope):
			return beyond(field, "Nobody makes a key that may do more than their own.", "Leave the scope out.")
		}
	}
	return nil
}

// actionsOf names what a role may do.
func actionsOf(r corp.Role) string {
	var names []string
	for _, a := range r.Actions() {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

// checkNetworks also writes each network in its one spelling.
func checkNetworks(who corp.Identity, ask *apiKeyRequest) error {
	if who.Addresses != nil && len(ask.Addresses) == 0 {
		return beyond("addresses", "Nobody makes a key for more networks than their own.", "Your key is for some networks only, and this one is for all.")
	}
	for i, text := range ask.Addresses {
		field := fmt.Sprintf("addresses[%d]", i)
		network, err := readNetwork(text)
		if err != nil {
			return corp.Invalid(field, fmt.Sprintf("%q is not a network.", text), "Write it like 203.0.113.0/24, or a single address.")
		}
		within := func(own netip.Prefix) bool { return own.Bits() <= network.Bits() && own.Contains(network.Addr()) }
		if who.Addresses != nil && !slices.ContainsFunc(who.Addresses, within) {
			return beyond(field, "Nobody makes a key for more networks than their own.", "Your own key may not be used from there.")
		}
		ask.Addresses[i] = network.String()
	}
	return nil
}

func readNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}

func (a *API) rotateAPIKey(ctx context.Context, who corp.Identity, in *rotateAPIKeyInput) (*body[newAPIKey], error) {
	whose, err := owner(who)
	if err != nil {
		return nil, err
	}
	db := a.DB.In(who.Workspace)
	old, err := db.APIKey(ctx, whose, in.Key)
	if err != nil {
		return nil, err
	}
	if !old.UserID.IsZero() && old.UserID != who.User {
		return nil, &corp.Error{Kind: corp.KindForbidden, Message: "This key is somebody else's: its successor would act as them.", Hint: "Revoke it, or ask its owner to rotate it."}
	}
	ends, err := a.ends(ctx, who)
	if err != nil {
		return nil, err
	}
	if err := checkKey(who, ends, &apiKeyRequest{Name: old.Name, Role: old.Role, Service: old.UserID.IsZero(), Scopes: old.Scopes, Addresses: old.Addresses}); err != nil {
		return nil, err
	}
	prefix := a.keyPrefix()
	if old.Role == corp.RoleRunner {
		prefix = corp.KeyPrefixRunner
	}
	secret := corp.NewSecret(prefix)
	made, err := db.RotateAPIKey(ctx, who.Actor, whose, in.Key, time.Duration(in.Body.OverlapSeconds)*time.Second, ends, corp.ShownSecret(secret), a.Ring.Hash(secret))
	if err != nil {
		return nil, err
	}
	return &body[newAPIKey]{newAPIKey{made, secret}}, nil
}

func (a *API) revokeAPIKey(ctx context.Context, who corp.Identity, in *apiKeyInput) (*body[corp.APIKey], error) {
	whose, err := owner(who)
	if err != nil {
		return nil, err
	}
	db := a.DB.In(who.Workspace)
	old, err := db.APIKey(ctx, whose, in.Key)
	if err != nil {
		return nil, err
	}
	if old.Role != corp.RoleRunner && !old.Role.AtMost(who.Role) && old.UserID != who.User {
		return nil, &corp.Error{Kind: corp.KindForbidden, Message: "This key's role is above your own.", Hint: "Ask an owner of the workspace."}
	}
	return answer(db.RevokeAPIKey(ctx, who.Actor, whose, in.Key))
}

func newKey(by corp.Actor, name string, role corp.Role, secret string, expires *time.Time) corp.APIKey {
	return corp.APIKey{
		ID: corp.NewID[corp.APIKeyID](), Name: name, Role: role, Prefix: corp.ShownSecret(secret),
		CreatedBy: by, CreatedAt: time.Now().UTC(), ExpiresAt: expires,
	}
}
