// Package builtin is the coding agent that comes with Generic Corp: a process
// that speaks the Agent Client Protocol on its standard input and output, asks
// a model over the Anthropic Messages dialect, and works on a checkout with
// seven tools: read, list, search, edit, write, run and plan.
//
// It knows one address, the gateway's, and one credential, its run's key. It
// refuses to reach outside the checkout with its file tools, to hold more of a
// hostile file or a chatty command than it shows the model, and to carry out
// anything of an answer that did not arrive whole. It judges nothing: that a
// turn ended is a claim, and the runner looks at the evidence. It is no
// sandbox: what its commands may do is decided around it.
package builtin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

// The defaults of a Config.
const (
	DefaultMaxTokens      = 16_384
	DefaultMaxTurns       = 100
	DefaultContextWindow  = 200_000
	DefaultCommandTimeout = 2 * time.Minute
	MaxCommandTimeout     = 30 * time.Minute
)

// Config is what the agent needs to know. It reads no environment.
type Config struct {
	BaseURL        string        // of the gateway; /v1/messages is added
	Key            string        // the run's key, sent as x-api-key
	Model          string        // the name that the gateway knows it by
	Dialect        string        // of the model's provider; empty means corp.DialectAnthropic
	MaxTokens      int           // output tokens of one answer; 0 means DefaultMaxTokens
	MaxTurns       int           // model calls of one prompt; 0 means DefaultMaxTurns
	ContextWindow  int           // tokens; 0 means DefaultContextWindow
	ThinkingTokens int           // output tokens that may be thinking; 0 means none is asked for
	Instructions   string        // the agent's persona and rules, added to the system prompt
	Home           string        // absolute; sessions are kept in its .corp/sessions
	Shell          string        // absolute; empty means /bin/sh; runs a command as its -c argument
	Env            []string      // the whole environment of commands
	CommandTimeout time.Duration // of a command that names none; 0 means DefaultCommandTimeout
	Date           time.Time     // what the model is told; zero means it is told none
	Version        string        // of this build
	Patience       Patience      // with the vendor; zero fields mean DefaultPatience
}

// Main runs the agent until stdin ends or the context does, and returns the
// process's exit code: 0 when the client left, 1 when the connection failed, 2
// when the configuration is wrong. It logs to stderr as JSON.
func Main(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, cfg Config) int {
	logger := slog.New(slog.NewJSONHandler(stderr, nil))
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		logger.Error("configuration is wrong", "error", err)
		return 2
	}
	if err := newServer(cfg, stdin, stdout, logger).run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		logger.Error("connection failed", "error", err)
		return 1
	}
	return 0
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxTokens, DefaultMaxTokens)
	setDefault(&c.MaxTurns, DefaultMaxTurns)
	setDefault(&c.ContextWindow, DefaultContextWindow)
	setDefault(&c.CommandTimeout, DefaultCommandTimeout)
	setDefault(&c.Shell, "/bin/sh")
	c.Patience = c.Patience.withDefaults()
	if c.Env == nil {
		c.Env = []string{} // nil would mean the agent's own
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) check() error {
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return corp.Invalid("base_url", "The gateway's address is not an http or https URL.", "Give an address such as http://127.0.0.1:8080.")
	case c.Key == "":
		return corp.Invalid("key", "The run key is missing.", "The runner passes it; to try the agent alone, make an API key.")
	case c.Model == "":
		return corp.Invalid("model", "The model is missing.", "Name a model that the gateway knows.")
	case dialectOf(c.Dialect) == nil:
		return corp.Invalid("dialect", fmt.Sprintf("The built-in agent does not speak the dialect %.50q.", c.Dialect), "Give the agent a model of a provider that speaks anthropic or openai.")
	case !filepath.IsAbs(c.Home):
		return corp.Invalid("home", "The home folder is not an absolute path.", "Give the folder in which sessions are kept.")
	case c.MaxTokens < 0 || c.MaxTurns < 0 || c.ThinkingTokens < 0 || c.ContextWindow < 0 || c.CommandTimeout < 0:
		return corp.Invalid("max_tokens", "A limit is negative.", "Give a positive number, or 0 for the default.")
	case c.ThinkingTokens >= c.MaxTokens:
		return corp.Invalid("thinking_tokens", fmt.Sprintf("Thinking may use %d tokens, but an answer only %d.", c.ThinkingTokens, c.MaxTokens), "Raise the limit of an answer or lower that of thinking.")
	default:
		return nil
	}
}

func (c Config) info() acp.Implementation {
	return acp.Implementation{Name: "corp-builtin", Title: "Generic Corp built-in agent", Version: c.Version}
}
