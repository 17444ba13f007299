package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/cmd/corp/child"
)

// startRunner starts the runner beside the server, or nothing with --no-runner: a
// process of its own that holds no database credential.
func (s *server) startRunner(ctx context.Context) (*child.Process, error) {
	if s.config.NoRunner {
		return child.None(), nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	key := corp.NewSecret(corp.KeyPrefixRunner)
	if err := s.renewRunnerKey(ctx, key); err != nil {
		return nil, fmt.Errorf("make the runner's key: %w", err)
	}
	argv := []string{
		self, "runner", "start", "--work", s.config.path("runner"), "--slots", fmt.Sprint(s.config.Slots),
		"--sandbox", s.config.Sandbox, "--git-env", strings.Join(s.config.GitEnv, ","), "--log-format", s.config.LogFormat, "--log-level", s.config.LogLevel,
	}
	if len(s.config.ReadOnly) > 0 {
		argv = append(argv, "--sandbox-read", strings.Join(s.config.ReadOnly, ","))
	}
	return child.Keep(argv, s.runnerEnv(key), s.log), nil
}

// renewRunnerKey makes the key of this start's runner, and ends that of the last
// start on this data folder: its runner is gone, however it went.
func (s *server) renewRunnerKey(ctx context.Context, key string) error {
	system := s.db.System("start runner")
	if !s.local.RunnerKey.IsZero() {
		if err := system.RevokeOperatorKey(ctx, s.local.RunnerKey); err != nil && corp.KindOf(err) != corp.KindNotFound {
			return err
		}
	}
	s.local.RunnerKey = corp.NewID[corp.OperatorID]()
	if err := writeLocal(s.config.Data, s.local); err != nil {
		return err
	}
	return system.CreateOperatorKey(ctx, s.local.RunnerKey, "runner of "+s.id.String(), corp.RoleRunner, corp.ShownSecret(key), s.ring.Hash(key))
}

// runnerEnv is an explicit list: nothing of the server's environment, vendor
// keys least of all, reaches the runner by accident.
func (s *server) runnerEnv(key string) []string {
	env := []string{"CORP_SERVER=" + s.url(), "CORP_KEY=" + key, "HOME=" + s.config.path("runner"), "TMPDIR=" + os.TempDir()}
	for _, name := range append([]string{"PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOCOVERDIR"}, s.config.GitEnv...) {
		if value := s.env.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}
