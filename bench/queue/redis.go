package main

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/genericcorp/corp/bench/site"
)

// redis is a Redis of its own, with an append-only file.
type redis struct {
	appendfsync string
	port        int
	cmd         *exec.Cmd
}

func (r *redis) start(ctx context.Context, dir string) (err error) {
	if r.port, err = site.FreePort(ctx); err != nil {
		return err
	}
	r.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(r.port), "--dir", dir, //nolint:noctx // ended by stop
		"--appendonly", "yes", "--appendfsync", r.appendfsync, "--save", "", "--daemonize", "no", "--loglevel", "warning")
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	return site.Reach(ctx, r.address())
}

func (r *redis) address() string { return fmt.Sprintf("127.0.0.1:%d", r.port) }

func (r *redis) pids() []int { return []int{r.cmd.Process.Pid} }

func (r *redis) stop() {
	if r.cmd != nil && r.cmd.Process != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	}
}
