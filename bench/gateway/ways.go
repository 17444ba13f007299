package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/bench/site"
	"github.com/genericcorp/corp/client"
)

// build starts the vendor, the proxies and our server. stop is never nil.
func build(ctx context.Context, program string) (ways []way, stop func(), err error) {
	var ends []func()
	stop = func() {
		for i := range ends {
			ends[len(ends)-1-i]()
		}
	}
	dir, err := os.MkdirTemp("", "corp-bench-")
	if err != nil {
		return nil, stop, err
	}
	ends = append(ends, func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL and nginx run as other users
		return nil, stop, err
	}
	run := func(program string, args ...string) (pid int, err error) {
		cmd := exec.Command(program, args...) //nolint:noctx // ended by stop
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		ends = append(ends, func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
		return cmd.Process.Pid, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, stop, err
	}
	vendor, err := address(ctx)
	if err != nil {
		return nil, stop, err
	}
	if _, err := run(self, "-upstream", vendor); err != nil {
		return nil, stop, err
	}
	proxy, err := address(ctx)
	if err != nil {
		return nil, stop, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, vendor, proxy), 0o600); err != nil {
		return nil, stop, err
	}
	nginx, err := run("nginx", "-p", dir, "-c", config)
	if err != nil {
		return nil, stop, err
	}
	bare, err := address(ctx)
	if err != nil {
		return nil, stop, err
	}
	inGo, err := run(self, "-proxy", bare, vendor)
	if err != nil {
		return nil, stop, err
	}
	for _, at := range []string{vendor, proxy, bare} {
		if err := site.Reach(ctx, at); err != nil {
			return nil, stop, err
		}
	}
	ours, err := site.Start(ctx, program, filepath.Join(dir, "data"))
	if err != nil {
		return nil, stop, err
	}
	ends = append(ends, ours.Stop)
	key, err := lease(ctx, ours, "http://"+vendor)
	ways = []way{
		{"direct", "http://" + vendor, "sk-sim", nil},
		{"nginx", "http://" + proxy, "sk-sim", []int{nginx}},
		{"bare proxy in Go", "http://" + bare, "sk-sim", []int{inGo}},
		{"corp", ours.GatewayURL, key, []int{ours.Pid()}},
	}
	return ways, stop, err
}

func address(ctx context.Context) (string, error) {
	port, err := site.FreePort(ctx)
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

const nginxConfig = `daemon off; worker_processes 2; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
  access_log off; client_max_body_size 64m; client_body_buffer_size 2m;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream vendor { server %[2]s; keepalive 64; }
  server { listen %[3]s; location / { proxy_pass http://vendor; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }
}
`

// lease makes a provider and a task with a hard limit, leases its run as a
// runner does, keeps it, and returns the key that the run's model calls carry.
func lease(ctx context.Context, s *site.Site, vendor string) (string, error) {
	_, err := s.Customer.CreateProvider(ctx, client.ProviderRequest{
		ProviderSpec: corp.ProviderSpec{Name: "anthropic", Dialect: corp.DialectAnthropic, BaseURL: vendor, Vendor: "anthropic"}, Key: "sk-sim",
	})
	if err != nil {
		return "", err
	}
	task := corp.TaskSpec{Prompt: "Call.", RepositoryURL: "https://git.example.com/nothing.git", TimeoutSeconds: 3600, Budget: new(10_000 * corp.Dollar)}
	if _, err := s.Customer.SubmitTask(ctx, task, ""); err != nil {
		return "", err
	}
	runner, err := s.Register(ctx, 1)
	if err != nil {
		return "", err
	}
	answer, err := s.Runner.Poll(ctx, runner, corp.Poll{Seq: 1, Free: 1, WaitMS: 20_000})
	if err != nil || len(answer.Offers) != 1 {
		return "", fmt.Errorf("no run was offered: %w", err)
	}
	offer := answer.Offers[0]
	if err := s.Runner.Ack(ctx, offer.Lease); err != nil {
		return "", err
	}
	go func() {
		for tick := time.NewTicker(5 * time.Second); ctx.Err() == nil; <-tick.C {
			_, _ = s.Runner.Beat(ctx, runner, corp.Beat{Leases: []corp.Lease{offer.Lease}})
		}
	}()
	return offer.RunKey, nil
}
