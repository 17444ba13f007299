package gateway

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/seal"
)

// directory answers where a call goes: who calls, through which vendor account,
// with which key, and what the model costs.
type directory struct {
	db   *postgres.DB
	ring *seal.Ring
	env  func(string) string

	runs      *known[string, postgres.RunIdentity]
	agents    *known[agentVersion, string]
	providers *known[providerName, route]
}

type agentVersion struct {
	ws      corp.WorkspaceID
	agent   corp.AgentID
	version int
}

type providerName struct {
	ws   corp.WorkspaceID
	name string
}

// route is a vendor account and its key.
type route struct {
	corp.Provider
	base *url.URL
	key  string
}

func newDirectory(db *postgres.DB, ring *seal.Ring, env func(string) string, t Times) *directory {
	return &directory{
		db: db, ring: ring, env: env,
		runs:      newKnown[string, postgres.RunIdentity](t.Identity, t.Identity),
		agents:    newKnown[agentVersion, string](time.Hour, t.Provider), // a version never changes
		providers: newKnown[providerName, route](t.Provider, t.Provider),
	}
}

// certain says whether an error is an answer and not an accident.
func certain(err error) bool {
	switch corp.KindOf(err) {
	case corp.KindUnauthenticated, corp.KindNotFound, corp.KindInvalid, corp.KindForbidden:
		return true
	default:
		return false
	}
}

// run returns the run that a key belongs to. A key that cannot be one is refused
// without a look-up.
func (d *directory) run(ctx context.Context, key string) (postgres.RunIdentity, error) {
	if prefix, ok := corp.SecretPrefix(key); !ok || prefix != corp.KeyPrefixRun {
		return postgres.RunIdentity{}, &corp.Error{Kind: corp.KindUnauthenticated, Message: "This is not a run's key.", Hint: "Agents call with the key that their run was given."}
	}
	hash := d.ring.Hash(key)
	return d.runs.get(ctx, string(hash), string(hash), certain, func(ctx context.Context) (postgres.RunIdentity, error) {
		return d.db.Auth().Run(ctx, hash)
	})
}

// forget drops what is known of a run: its key, and that it may go on.
func (d *directory) forget(run corp.RunID) (task corp.TaskID) {
	d.runs.drop(func(r postgres.RunIdentity) bool {
		if r.RunID == run {
			task = r.TaskID
		}
		return r.RunID == run
	})
	return task
}

// resolve finds the vendor account for a model as agents name it: PROVIDER/MODEL,
// or a bare model of the provider that the run's own agent uses.
func (d *directory) resolve(ctx context.Context, run postgres.RunIdentity, asked string) (route, string, error) {
	provider, model, ok := corp.SplitModel(asked)
	if ok {
		r, err := d.provider(ctx, run.Workspace, provider)
		if corp.KindOf(err) != corp.KindNotFound {
			return r, model, err
		}
		// Vendors that sell others' models have slashes in their own names.
	}
	own, err := d.ownProvider(ctx, run)
	if err != nil {
		return route{}, "", err
	}
	if ok && own == provider {
		return route{}, "", noProvider(provider)
	}
	r, err := d.provider(ctx, run.Workspace, own)
	if corp.KindOf(err) == corp.KindNotFound {
		return route{}, "", noProvider(own)
	}
	return r, asked, err
}

func noProvider(name string) error {
	return &corp.Error{
		Kind: corp.KindNotFound, Code: "provider",
		Message: fmt.Sprintf("There is no provider named %q in this workspace.", name),
		Hint:    "Add it with `corp provider add`, or give the agent a model of a provider that is there.",
	}
}

// ownProvider returns the provider of the run's agent.
func (d *directory) ownProvider(ctx context.Context, run postgres.RunIdentity) (string, error) {
	key := agentVersion{run.Workspace, run.AgentID, run.AgentVersion}
	model, err := d.agents.get(ctx, key, fmt.Sprint(key), certain, func(ctx context.Context) (string, error) {
		agent, err := d.db.In(run.Workspace).AgentVersion(ctx, run.AgentID, run.AgentVersion)
		return agent.Model, err
	})
	if err != nil {
		return "", err
	}
	provider, _, ok := corp.SplitModel(model)
	if !ok {
		return "", noProvider(model)
	}
	return provider, nil
}

// provider returns a vendor account with its key opened.
func (d *directory) provider(ctx context.Context, ws corp.WorkspaceID, name string) (route, error) {
	key := providerName{ws, name}
	return d.providers.get(ctx, key, ws.String()+"/"+name, certain, func(ctx context.Context) (route, error) {
		p, sealed, keyEnv, err := d.db.In(ws).ResolveProvider(ctx, name)
		if err != nil {
			return route{}, err
		}
		return d.open(ws, p, sealed, keyEnv)
	})
}

func (d *directory) open(ws corp.WorkspaceID, p corp.Provider, sealed []byte, keyEnv string) (route, error) {
	base, err := url.Parse(p.BaseURL)
	if err != nil || (base.Scheme != "https" && base.Scheme != "http") || base.Host == "" {
		return route{}, badProvider("base_url", fmt.Sprintf("The address of the provider %q is not an http or https URL.", p.Name), "Correct it with `corp provider add`.")
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	r := route{Provider: p, base: base}
	if keyEnv != "" {
		r.key = d.env(keyEnv)
		if r.key == "" {
			return r, badProvider("key", fmt.Sprintf("The key of the provider %q is not set on this server.", p.Name), fmt.Sprintf("Start the server with %s in its environment.", keyEnv))
		}
		return r, nil
	}
	plain, err := d.ring.Open(sealed, ws.String(), "provider", p.ID.String())
	if err != nil {
		e := badProvider("key", fmt.Sprintf("The key of the provider %q cannot be opened with this server's secret file.", p.Name), "Store the key again with `corp provider add`, or restore the secret file.")
		e.Err = err
		return r, e
	}
	r.key = string(plain)
	return r, nil
}

func badProvider(field, message, hint string) *corp.Error {
	return &corp.Error{Kind: corp.KindInvalid, Code: "provider_key", Field: field, Message: message, Hint: hint}
}

// vendor returns whose prices apply.
func (r route) vendor() string {
	if r.Vendor != "" {
		return r.Vendor
	}
	return r.Dialect
}

// price is what a model is known to cost; ok is false for an unknown one.
func price(book *pricebook.Book, r route, model string, at time.Time) (pricebook.Quote, bool) {
	return book.Lookup(r.vendor(), model, at)
}
