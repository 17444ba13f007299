package runner

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/genericcorp/corp"
)

// AgentSubcommand is the hidden subcommand of corp that is the built-in agent.
const AgentSubcommand = "agent-builtin"

// The environment of the built-in agent's process. They are between the runner
// and the same binary in the sandbox, and nobody else's business.
const (
	envBaseURL      = "CORP_AGENT_BASE_URL"
	envKey          = "CORP_AGENT_KEY"
	envModel        = "CORP_AGENT_MODEL"
	envMaxTokens    = "CORP_AGENT_MAX_TOKENS" //nolint:gosec // a number's name, no credential
	envMaxTurns     = "CORP_AGENT_MAX_TURNS"
	envInstructions = "CORP_AGENT_INSTRUCTIONS_FILE"
	envDialect      = "CORP_AGENT_DIALECT"
	envWindow       = "CORP_AGENT_CONTEXT_WINDOW"
)

// AgentSettings is what the runner tells the built-in agent's process: how to
// reach a model and how far to go. cmd/corp reads it there with
// ReadAgentSettings; the agent gives none of it to the commands it runs.
type AgentSettings struct {
	BaseURL          string // of the gateway, as the process reaches it
	Key              string // the run key
	Model            string // PROVIDER/MODEL
	MaxTokens        int    // 0 means the agent's default
	MaxTurns         int    // likewise
	InstructionsFile string // absolute, as the process sees it; empty means none
	Dialect          string // of the model's provider; empty means Anthropic's
	ContextWindow    int    // of the model, in tokens; 0 means the agent's default
}

// agentSettings makes the settings of an offer's agent.
func agentSettings(offer corp.Offer, baseURL string) AgentSettings {
	return AgentSettings{
		BaseURL: baseURL, Key: offer.RunKey, Model: offer.Agent.Model, Dialect: offer.Model.Dialect, ContextWindow: int(offer.Model.ContextWindow),
		MaxTokens: answerLimit(offer), MaxTurns: offer.Agent.MaxTurns,
	}
}

// answerLimit keeps the tokens of one answer to what the model can give: vendors
// refuse a request for more.
func answerLimit(offer corp.Offer) int {
	most := int(offer.Model.MaxOutput)
	if most > 0 && (offer.Agent.MaxTokens > most || offer.Agent.MaxTokens == 0 && corp.DefaultMaxTokens > most) {
		return most
	}
	return offer.Agent.MaxTokens
}

// Env returns the settings as NAME=value.
func (s AgentSettings) Env() []string {
	return []string{
		envBaseURL + "=" + s.BaseURL, envKey + "=" + s.Key, envModel + "=" + s.Model,
		envMaxTokens + "=" + strconv.Itoa(s.MaxTokens), envMaxTurns + "=" + strconv.Itoa(s.MaxTurns),
		envInstructions + "=" + s.InstructionsFile, envDialect + "=" + s.Dialect, envWindow + "=" + strconv.Itoa(s.ContextWindow),
	}
}

// ReadAgentSettings reads them back. A number that is none is an invalid error.
func ReadAgentSettings(get func(name string) string) (AgentSettings, error) {
	s := AgentSettings{BaseURL: get(envBaseURL), Key: get(envKey), Model: get(envModel), InstructionsFile: get(envInstructions), Dialect: get(envDialect)}
	for name, field := range map[string]*int{envMaxTokens: &s.MaxTokens, envMaxTurns: &s.MaxTurns, envWindow: &s.ContextWindow} {
		text := get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return s, corp.Invalid(name, fmt.Sprintf("%s is not a whole number.", name), "This command is for the runner; run corp run instead.")
		}
		*field = n
	}
	return s, nil
}

// IsAgentSetting says whether an environment variable is the runner's word to
// the agent, which the commands that the agent runs must not get.
func IsAgentSetting(name string) bool {
	switch name {
	case envBaseURL, envKey, envModel, envMaxTokens, envMaxTurns, envInstructions, envDialect, envWindow:
		return true
	default:
		return false
	}
}

func asError(err error) (*corp.Error, bool) { return errors.AsType[*corp.Error](err) }

// sandboxOr is the reason of a failed start: the sandbox's fault, or otherwise.
func sandboxOr(err error, otherwise corp.Reason) corp.Reason {
	if e, ok := asError(err); ok && e.Code == string(corp.ReasonSandbox) {
		return corp.ReasonSandbox
	}
	return otherwise
}
