// Package site starts "corp up" as a user does, in a folder of its own, for the
// benchmarks to speak to.
package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Site is a server that runs.
type Site struct {
	URL        string // of the API
	GatewayURL string
	Customer   *client.Client // with the first owner's key
	Operator   *client.Client // with the operator's key
	Runner     *client.Client // with a runner's key
	Ready      time.Duration  // from its start until it was ready

	dir string
	cmd *exec.Cmd
}

// Start starts a server without a runner on the data in dir, with these settings
// besides, and waits until it is ready.
func Start(ctx context.Context, program, dir string, settings ...string) (*Site, error) {
	api, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	gateway, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", api)
	s := &Site{URL: url, dir: dir, GatewayURL: fmt.Sprintf("http://127.0.0.1:%d", gateway)}
	args := []string{"up", "--no-runner", "--data", dir, "--log-level", "error", "--listen", url[len("http://"):], "--gateway-listen", s.GatewayURL[len("http://"):]}
	s.cmd = exec.Command(program, append(args, settings...)...) //nolint:noctx // ended by Stop
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	s.cmd.Stderr = os.Stderr
	begun := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := ready(ctx, url); err != nil {
		s.Stop()
		return nil, err
	}
	s.Ready = time.Since(begun)
	if err := s.sign(ctx, dir); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func ready(ctx context.Context, url string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	c := client.New(url, "", client.Options{})
	for {
		state, err := c.Ready(ctx)
		if err == nil && state.Ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("the server did not become ready"), err)
		case <-tick.C:
		}
	}
}

// sign makes the clients from what the server's first start left for the command line.
func (s *Site) sign(ctx context.Context, data string) error {
	text, err := os.ReadFile(filepath.Join(data, "context.json"))
	if err != nil {
		return err
	}
	var local struct {
		Server   string `json:"server"`
		Key      string `json:"key"`
		Operator string `json:"operator_key"`
	}
	if err := json.Unmarshal(text, &local); err != nil {
		return err
	}
	s.Customer, s.Operator = client.New(local.Server, local.Key, client.Options{}), client.New(local.Server, local.Operator, client.Options{})
	made, err := s.Customer.CreateAPIKey(ctx, client.APIKeyRequest{Name: "bench", Role: corp.RoleRunner})
	if err != nil {
		return err
	}
	s.Runner = client.New(local.Server, made.Key, client.Options{})
	return nil
}

// Pid is the server's process; its PostgreSQL is among those below it.
func (s *Site) Pid() int { return s.cmd.Process.Pid }

// Stop ends it.
func (s *Site) Stop() {
	if s == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait()
}

// Register introduces a simulated runner.
func (s *Site) Register(ctx context.Context, slots int) (corp.RunnerID, error) {
	registered, err := s.Runner.Register(ctx, corp.Registration{
		Protocols: []int{corp.ProtocolVersion}, Name: "bench", Instance: corp.NewID[corp.RunnerID]().String(), Slots: slots,
		Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "bench",
	})
	return registered.RunnerID, err
}

// FreePort returns a port of the loopback that nobody listens on.
func FreePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Reach waits until somebody answers at an address.
func Reach(ctx context.Context, address string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
