package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/child"
)

// startPrivate starts a server of its own in dir, on free ports, and waits until
// it answers. stop ends it and everything it started.
func startPrivate(ctx context.Context, env *environment, dir string) (local, func(), error) {
	nothing := func() {}
	self, err := os.Executable()
	if err != nil {
		return local{}, nothing, fmt.Errorf("find this program: %w", err)
	}
	if err := os.Mkdir(dir, 0o711); err != nil {
		return local{}, nothing, fmt.Errorf("make the private server's folder: %w", err)
	}
	cmd := exec.Command(self, "up", "--data", dir, "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0", "--log-level", "warn", "--slots", "2") //nolint:noctx // stopped by signal, so that it cleans up
	cmd.Env = []string{"HOME=" + dir}
	for _, name := range []string{"PATH", "LANG", "TMPDIR", "GOCOVERDIR"} { // and no vendor's key
		if value := env.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	child.DieWithParent(cmd.SysProcAttr)
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that forks
		defer close(ended)
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start the private server: %w", err)
			return
		}
		started <- nil
		_ = cmd.Wait() // how it ended shows in what it said
	}()
	if err := <-started; err != nil {
		return local{}, nothing, err
	}
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	l, err := awaitServer(ctx, dir, ended)
	if err != nil {
		stop()
		if ctx.Err() != nil {
			return local{}, nothing, codeError(exitCancelled)
		}
		return local{}, nothing, &corp.Error{Kind: corp.KindUnavailable, Message: "The private server did not get ready.", Hint: "It said: " + strings.TrimSpace(said.String()), Err: err}
	}
	return l, stop, nil
}

// awaitServer waits until the server in dir has left its context and answers.
func awaitServer(ctx context.Context, dir string, ended <-chan struct{}) (local, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return local{}, errors.New("it ended")
		case <-ctx.Done():
			return local{}, fmt.Errorf("it took too long: %w", ctx.Err())
		case <-tick.C:
		}
		l, err := readLocal(dir)
		if err != nil {
			continue
		}
		ready, err := client.New(l.Server, l.Key, client.Options{}).Ready(ctx)
		if err == nil && ready.Ready {
			return l, nil
		}
	}
}
