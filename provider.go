package corp

import (
	"strings"
	"time"
)

// The dialects that the gateway speaks.
const (
	DialectAnthropic = "anthropic" // Messages
	DialectOpenAI    = "openai"    // Chat Completions
)

// ProviderSpec is a vendor account that model calls go through.
type ProviderSpec struct {
	Name    string `json:"name" minLength:"1" maxLength:"60" pattern:"^[a-z0-9][a-z0-9-]*$" doc:"What agents call it, before the slash of PROVIDER/MODEL."`
	Dialect string `json:"dialect" enum:"anthropic,openai"`
	BaseURL string `json:"base_url" maxLength:"2000" doc:"For anthropic without the /v1; for openai as its clients take it, with the version: https://api.openai.com/v1."`
	Vendor  string `json:"vendor,omitempty" maxLength:"60" doc:"Whose prices apply; the dialect's own vendor when empty."`
}

// Provider is a vendor account. Its key is sealed at rest and never shown again.
// An installation's own provider belongs to no workspace; its key stays in the
// server's environment.
type Provider struct {
	ID ProviderID `json:"id"`
	ProviderSpec
	Installation bool       `json:"installation"` // the installation's own, usable by every workspace
	CreatedBy    Actor      `json:"created_by"`
	CreatedAt    time.Time  `json:"created_at"`
	ArchivedAt   *time.Time `json:"archived_at,omitempty"`
}

// SplitModel cuts PROVIDER/MODEL at the first slash. ok is false without one.
func SplitModel(s string) (provider, model string, ok bool) {
	provider, model, ok = strings.Cut(s, "/")
	return provider, model, ok && provider != "" && model != ""
}
