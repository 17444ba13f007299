package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// bullmq is BullMQ on Redis; its client is bullmq/worker.js, which is told over
// its standard input what to do.
type bullmq struct {
	redis
	node *node
}

func (b *bullmq) name() string { return "BullMQ on Redis (" + b.appendfsync + ")" }

func (b *bullmq) start(ctx context.Context, dir string) error {
	if err := b.redis.start(ctx, dir); err != nil {
		return err
	}
	var err error
	b.node, err = newNode(ctx, b.port)
	return err
}

type node struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func newNode(ctx context.Context, port int) (*node, error) {
	n := &node{cmd: exec.CommandContext(ctx, "node", "bullmq/worker.js", fmt.Sprint(port))}
	n.cmd.Stderr = os.Stderr
	var err error
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.lines = bufio.NewScanner(out)
	n.lines.Buffer(nil, 1<<20)
	return n, n.cmd.Start()
}

// answer is what worker.js says, all in milliseconds.
type answer struct {
	Submit, Work float64
	Waits        []float64
}

func (n *node) ask(what string, tasks int) (a answer, err error) {
	if _, err := fmt.Fprintf(n.in, "%s %d\n", what, tasks); err != nil {
		return a, err
	}
	if !n.lines.Scan() {
		return a, fmt.Errorf("worker.js ended: %w", n.lines.Err())
	}
	return a, json.Unmarshal(n.lines.Bytes(), &a)
}

func (b *bullmq) pids() []int { return []int{b.cmd.Process.Pid, b.node.cmd.Process.Pid} }

func (b *bullmq) drain(_ context.Context, n int) (submit, work time.Duration, err error) {
	a, err := b.node.ask("drain", n)
	return ms(a.Submit), ms(a.Work), err
}

func (b *bullmq) trickle(_ context.Context, n int) (waits []time.Duration, err error) {
	a, err := b.node.ask("trickle", n)
	for _, w := range a.Waits {
		waits = append(waits, ms(w))
	}
	return waits, err
}

func ms(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }

func (b *bullmq) stop() {
	if b.node != nil {
		_ = b.node.in.Close()
		_ = b.node.cmd.Wait()
	}
	b.redis.stop()
}
