package api

import (
	"context"
	"net/url"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/outbound"
)

// providerRequest mirrors client.ProviderRequest.
type providerRequest struct {
	corp.ProviderSpec
	Key   string `json:"key,omitempty" maxLength:"4000" doc:"The vendor's key, never shown again. Required for a new provider unless no_key is set; left out of a change, the stored one stays."`
	NoKey bool   `json:"no_key,omitempty" doc:"The vendor takes no key, as a model server of your own may: none is kept or sent."`
}

// ProviderInput names a provider in the path.
type ProviderInput struct {
	Provider corp.ProviderID `path:"provider"`
}

type createProviderInput struct{ Body providerRequest }

type updateProviderInput struct {
	ProviderInput
	Body providerRequest
}

func (a *API) providers(ctx context.Context, who corp.Identity, in *PageInput) (*body[corp.List[corp.Provider]], error) {
	return answerList(a.DB.In(who.Workspace).Providers(ctx, in.page()))
}

func (a *API) createProvider(ctx context.Context, who corp.Identity, in *createProviderInput) (*body[corp.Provider], error) {
	spec, err := in.Body.check(a.Outbound)
	if err != nil {
		return nil, err
	}
	if in.Body.Key == "" && !in.Body.NoKey {
		return nil, corp.Invalid("key", "A provider needs the vendor's key.", "Add it as key; it is sealed and never shown again. For a server that takes none, set no_key.")
	}
	id := corp.NewID[corp.ProviderID]()
	return answer(a.DB.In(who.Workspace).CreateProvider(ctx, who.Actor, id, spec, a.sealKey(who, id, in.Body.Key)))
}

func (a *API) updateProvider(ctx context.Context, who corp.Identity, in *updateProviderInput) (*body[corp.Provider], error) {
	spec, err := in.Body.check(a.Outbound)
	if err != nil {
		return nil, err
	}
	var sealed []byte
	if in.Body.Key != "" || in.Body.NoKey {
		sealed = a.sealKey(who, in.Provider, in.Body.Key)
	}
	return answer(a.DB.In(who.Workspace).UpdateProvider(ctx, who.Actor, in.Provider, spec, sealed))
}

func (a *API) archiveProvider(ctx context.Context, who corp.Identity, in *ProviderInput) (*body[corp.Provider], error) {
	return answer(a.DB.In(who.Workspace).ArchiveProvider(ctx, who.Actor, in.Provider))
}

func (a *API) sealKey(who corp.Identity, id corp.ProviderID, key string) []byte {
	return a.Ring.Seal([]byte(key), who.Workspace.String(), "provider", id.String())
}

// check refuses an address that the vendor's key must not be sent to by mistake,
// and fills in the vendor.
func (r providerRequest) check(reachable outbound.Policy) (corp.ProviderSpec, error) {
	spec := r.ProviderSpec
	spec.BaseURL = strings.TrimRight(spec.BaseURL, "/")
	u, err := url.Parse(spec.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return spec, corp.Invalid("base_url", "That is not the address of a vendor.", "Write it like https://api.anthropic.com or http://127.0.0.1:11434/v1.")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return spec, corp.Invalid("base_url", "A vendor's address has no user, query or fragment.", "Put the key into key.")
	case r.NoKey && r.Key != "":
		return spec, corp.Invalid("no_key", "A provider has a key or it has none.", "Leave key or no_key out.")
	case spec.Dialect == corp.DialectAnthropic && strings.HasSuffix(u.Path, "/v1"):
		return spec, corp.Invalid("base_url", "The address ends with /v1, which is added to it.", "Leave the /v1 out.")
	case strings.HasSuffix(u.Path, "/chat/completions"):
		return spec, corp.Invalid("base_url", "The address ends with /chat/completions, which is added to it.", "Leave that out.")
	case spec.Dialect == corp.DialectOpenAI && spec.Vendor == "" && u.Hostname() != "api.openai.com":
		return spec, corp.Invalid("vendor", "Many vendors speak this dialect, and prices go by the vendor.", "Name it as the price book does, such as together, groq or deepseek; a server of your own gets a name of its own.")
	}
	if spec.Vendor == "" {
		spec.Vendor = spec.Dialect
	}
	return spec, reachable.CheckURL("base_url", spec.BaseURL)
}
