package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

const (
	anthropicKeyEnv  = "ANTHROPIC_API_KEY"
	openaiKeyEnv     = "OPENAI_API_KEY"
	defaultWorkspace = "default"
)

// furnish makes what a first start needs (a workspace, an agent, the keys that
// sign this machine's command line in) and refreshes what belongs to this start.
func (s *server) furnish(ctx context.Context) error {
	if err := s.offerProviders(ctx); err != nil {
		return err
	}
	known, err := readLocal(s.config.Data)
	switch {
	case err == nil && s.accepts(ctx, known.Key) && s.accepts(ctx, known.Operator):
		s.local = known
	case err == nil || errors.Is(err, fs.ErrNotExist):
		s.local.RunnerKey = known.RunnerKey
		if err := s.signIn(ctx); err != nil {
			return fmt.Errorf("make the first keys: %w", err)
		}
	default:
		return err
	}
	s.local.Server = s.url()
	return writeLocal(s.config.Data, s.local)
}

// vendor is one whose key may stand in the environment. Its provider, its dialect
// and its prices have the same name.
type vendor struct{ name, url, keyEnv string }

func (s *server) vendors() []vendor {
	return []vendor{
		{corp.DialectAnthropic, s.config.AnthropicURL, anthropicKeyEnv},
		{corp.DialectOpenAI, s.config.OpenAIURL, openaiKeyEnv},
	}
}

// offerProviders makes the vendor keys in the environment usable by every
// workspace; the keys themselves stay there.
func (s *server) offerProviders(ctx context.Context) error {
	var offered []postgres.InstallationProvider
	for _, v := range s.vendors() {
		if s.env.Getenv(v.keyEnv) == "" {
			continue
		}
		offered = append(offered, postgres.InstallationProvider{
			Provider: corp.Provider{ID: corp.NewID[corp.ProviderID](), ProviderSpec: corp.ProviderSpec{
				Name: v.name, Dialect: v.name, BaseURL: strings.TrimSuffix(v.url, "/"), Vendor: v.name,
			}, Installation: true, CreatedBy: corp.ActorSystem},
			KeyEnv: v.keyEnv,
		})
	}
	if err := s.db.System("offer providers").SetInstallationProviders(ctx, offered); err != nil {
		return fmt.Errorf("offer the installation's providers: %w", err)
	}
	return nil
}

func (s *server) accepts(ctx context.Context, key string) bool {
	if key == "" {
		return false
	}
	_, err := s.db.Auth().Key(ctx, s.ring.Hash(key))
	return err == nil
}

// signIn makes the default workspace unless it is there, and new keys to it and
// to the installation for this machine's command line.
func (s *server) signIn(ctx context.Context) error {
	system := s.db.System("first start")
	ws, err := system.CreateWorkspace(ctx, corp.ActorSystem, defaultWorkspace, "Default", "unlimited")
	if corp.KindOf(err) == corp.KindConflict {
		ws, err = s.findWorkspace(ctx, defaultWorkspace)
	} else if err == nil {
		s.fresh = true
	}
	if err != nil {
		return err
	}
	in := s.db.In(ws.ID)
	_, err = in.CreateAgent(ctx, corp.ActorSystem, corp.FirstAgent())
	if err != nil && corp.KindOf(err) != corp.KindConflict {
		return err
	}
	s.local.Key, s.local.Operator = corp.NewSecret(corp.KeyPrefixLive), corp.NewSecret(corp.KeyPrefixOp)
	_, err = in.CreateAPIKey(ctx, corp.ActorSystem, corp.APIKey{
		ID: corp.NewID[corp.APIKeyID](), Name: "command line of the server's machine", Role: corp.RoleOwner,
		Prefix: corp.ShownSecret(s.local.Key), CreatedBy: corp.ActorSystem, CreatedAt: time.Now(),
	}, s.ring.Hash(s.local.Key))
	if err != nil {
		return err
	}
	return system.CreateOperatorKey(ctx, corp.NewID[corp.OperatorID](), "command line of the server's machine", corp.RoleOperator, corp.ShownSecret(s.local.Operator), s.ring.Hash(s.local.Operator))
}

func (s *server) findWorkspace(ctx context.Context, slug string) (corp.Workspace, error) {
	page := corp.Page{Limit: corp.MaxPage}
	for {
		list, err := s.db.System("first start").Workspaces(ctx, page)
		if err != nil {
			return corp.Workspace{}, err
		}
		for _, ws := range list.Items {
			if ws.Slug == slug {
				return ws, nil
			}
		}
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			return corp.Workspace{}, corp.NotFound("workspace")
		}
	}
}

// quoted is a path as a shell takes it for one word.
func quoted(path string) string {
	plain := func(r rune) bool {
		return r == '/' || r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if !strings.ContainsFunc(path, func(r rune) bool { return !plain(r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// announce says where things are. It is for people, so it goes to Out and not to the log.
func (s *server) announce() {
	w := s.env.Out
	self, on := os.Args[0], ""
	if s.config.Data != defaultData(s.env.Getenv) {
		on = " --data " + quoted(s.config.Data)
	}
	pg := "external"
	if s.db.inside != nil {
		pg = fmt.Sprintf("%s inside (%s)", s.db.inside.Version(), s.db.inside.Source())
	}
	line := func(name, text string) { _, _ = fmt.Fprintf(w, "  %-11s %s\n", name, text) }
	_, _ = fmt.Fprintf(w, "\nGeneric Corp %s is ready.\n", version)
	line("api", s.url())
	line("gateway", s.gatewayURL())
	line("postgresql", pg)
	line("data", s.config.Data)
	if s.config.NoRunner {
		line("runner", "none (--no-runner)")
	} else {
		line("runner", fmt.Sprintf("%d slots, sandbox %s", s.config.Slots, s.config.Sandbox))
	}
	var offered []string
	for _, v := range s.vendors() {
		if s.env.Getenv(v.keyEnv) != "" {
			offered = append(offered, v.name+", with "+v.keyEnv)
		}
	}
	if len(offered) == 0 {
		offered = []string{"none yet: corp provider add" + on + ", or set " + anthropicKeyEnv + " or " + openaiKeyEnv + "; corp demo needs none"}
	}
	line("provider", strings.Join(offered, "; "))
	line("signed in", "the command line on this machine is, through "+s.config.path(localFile))
	if s.fresh {
		line("elsewhere", fmt.Sprintf("corp key create laptop --role member%s, then CORP_SERVER=%s CORP_KEY=…", on, s.url()))
	}
	_, _ = fmt.Fprintf(w, "\nTry: %s demo", self) // it has a server of its own
	if !s.config.NoRunner {
		_, _ = fmt.Fprintf(w, "        %s run%s --repo . \"fix the failing test\"", self, on)
	}
	_, _ = fmt.Fprint(w, "\n\n")
}

// announceWait says why a stop takes its time, while a runner is busy.
func (s *server) announceWait() {
	_, _ = fmt.Fprintf(s.env.Out, "\nStopping. The runner has up to %d s to finish its runs; what it cannot finish goes back to the queue.\n"+
		"Ctrl-c again ends all at once. Its runs then count as lost: those with attempts left go on some %s after the next start.\n\n",
		int(drainGrace.Seconds()), s.config.LeaseTTL+s.config.LeaseMargin)
}

// announceCalls says why it goes on taking its time.
func (s *server) announceCalls() {
	_, _ = fmt.Fprintf(s.env.Out, "\nStopping. Requests and model calls under way are answered first, for up to %d s; ctrl-c again cuts them off.\n\n", int(callGrace.Seconds()))
}
