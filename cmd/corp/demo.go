package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/vendorsim"
)

//go:embed demo
var demoFiles embed.FS

const (
	demoPrompt = "The tests of this repository fail. Find out why, mend the code and leave the tests as they are."
	demoModel  = "claude-sonnet-4-5"
	demoCheck  = "sh test.sh"
	demoBudget = 500_000_000 // nanodollars
)

func newDemo(o *options) *cobra.Command {
	var private bool
	cmd := &cobra.Command{
		Use: "demo", Short: "See an agent mend a real bug; needs no vendor key", Args: cobra.NoArgs,
		Long: `Makes a small git repository with a bug and failing tests, and has an agent mend
it: really scheduled, sandboxed, metered and checked. Only the model is
simulated, by a scripted vendor, and everything it touches says so.

It uses the server that runs on this machine, or starts a private one in a
temporary folder. It leaves nothing behind but, on a running server, the task.`,
	}
	cmd.Flags().BoolVar(&private, "private", false, "start a private server even when one is running")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := os.MkdirTemp("", "corp-demo-")
		if err != nil {
			return fmt.Errorf("make a temporary folder: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		// PostgreSQL runs as another user when we are root, and must pass through.
		if err := os.Chmod(dir, 0o711); err != nil {
			return fmt.Errorf("open the temporary folder: %w", err)
		}
		d := &demo{o: o, dir: dir, progress: o.progress(false)}
		return d.run(cmd.Context(), private)
	}
	return cmd
}

// demo is one demonstration, in a temporary folder.
type demo struct {
	o        *options
	dir      string
	progress io.Writer
}

func (d *demo) say(format string, args ...any) { _, _ = fmt.Fprintf(d.progress, format+"\n", args...) }

func (d *demo) run(ctx context.Context, private bool) error {
	d.say("This is a demonstration: the model is simulated by a script. All else is real.\n")
	c, stop, err := d.server(ctx, private)
	if err != nil {
		return err
	}
	defer stop()
	repo, err := d.makeRepository(ctx)
	if err != nil {
		return err
	}
	simulating, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	scenario, err := demoFiles.ReadFile("demo/scenario.yaml")
	if err != nil {
		return fmt.Errorf("read the demo's scenario: %w", err)
	}
	vendor, address, err := simulate(simulating, bytes.NewReader(scenario))
	if err != nil {
		return err
	}
	agent, remove, err := d.makeAgent(ctx, c, address)
	if err != nil {
		return err
	}
	defer remove()
	d.showFailure(ctx, repo)
	limit := corp.Nanodollars(demoBudget)
	ended := d.o.runTask(ctx, c, runRequest{specFlags: specFlags{repo: repo, spec: corp.TaskSpec{
		Prompt: demoPrompt, Agent: agent, Check: demoCheck, Budget: &limit, TimeoutSeconds: 120, MaxAttempts: 1,
	}}})
	if ctx.Err() != nil {
		return ended
	}
	if err := d.proof(ctx, c, repo, agent, vendor); err != nil {
		return err
	}
	return ended
}

// server returns a client of the server that runs on this machine, or of a
// private one; stop ends what was started.
func (d *demo) server(ctx context.Context, private bool) (*client.Client, func(), error) {
	nothing := func() {}
	if l, err := readLocal(d.o.dataFolder()); err == nil && !private {
		c := client.New(l.Server, l.Key, client.Options{UserAgent: "corp/" + version})
		if _, err := c.Whoami(ctx); err == nil {
			d.say("using the server at %s", l.Server)
			return c, nothing, nil
		}
	}
	d.say("starting a private server …")
	began := time.Now()
	l, stop, err := startPrivate(ctx, d.o.env, filepath.Join(d.dir, "server"))
	if err != nil {
		return nil, nothing, err
	}
	d.say("ready after %.1fs, at %s", time.Since(began).Seconds(), l.Server)
	return client.New(l.Server, l.Key, client.Options{Patience: patience, UserAgent: "corp/" + version}), stop, nil
}

// makeRepository writes the demo's files and commits them.
func (d *demo) makeRepository(ctx context.Context) (string, error) {
	repo := filepath.Join(d.dir, "calendar")
	if err := os.Mkdir(repo, 0o755); err != nil {
		return "", fmt.Errorf("make the demo's repository: %w", err)
	}
	for _, name := range []string{"README.md", "calendar.sh", "test.sh"} {
		text, err := demoFiles.ReadFile("demo/repo/" + name)
		if err != nil {
			return "", fmt.Errorf("read the demo's files: %w", err)
		}
		if err := os.WriteFile(filepath.Join(repo, name), text, 0o644); err != nil { //nolint:gosec // a demo's source files
			return "", fmt.Errorf("write the demo's files: %w", err)
		}
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-q", "-m", "calendar arithmetic in shell"}} {
		if _, err := d.git(ctx, repo, args...); err != nil {
			return "", err
		}
	}
	return repo, nil
}

// git runs git without the user's own settings: signing keys and hooks are not
// the demo's to use.
func (d *demo) git(ctx context.Context, repo string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", repo, "-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "core.hooksPath=/dev/null"}, args...)...)
	cmd.Env = []string{"PATH=" + d.o.env.Getenv("PATH"), "HOME=" + d.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// makeAgent makes a provider and an agent of names of their own, and returns
// what retires them again.
func (d *demo) makeAgent(ctx context.Context, c *client.Client, address string) (string, func(), error) {
	nothing := func() {}
	name := "demo-" + strings.ToLower(rand.Text()[:8])
	p, err := c.CreateProvider(ctx, client.ProviderRequest{
		ProviderSpec: corp.ProviderSpec{Name: name, Dialect: corp.DialectAnthropic, BaseURL: address}, Key: "simulated",
	})
	if err != nil {
		return "", nothing, err
	}
	_, err = c.CreateAgent(ctx, corp.AgentSpec{Name: name, Runtime: corp.RuntimeBuiltin, Model: name + "/" + demoModel, MaxTokens: 4096})
	remove := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// The demo's result stands either way; what is left over is two retired names.
		_, _ = c.ArchiveAgent(ctx, name)
		_, _ = c.ArchiveProvider(ctx, p.ID)
	}
	if err != nil {
		remove()
		return "", nothing, err
	}
	return name, remove, nil
}

func (d *demo) showFailure(ctx context.Context, repo string) {
	cmd := exec.CommandContext(ctx, "sh", "test.sh")
	cmd.Dir = repo
	out, _ := cmd.CombinedOutput() // it fails: that is what is shown
	d.say("\n$ sh test.sh\n%s", bytes.TrimSpace(out))
	d.say("\n$ corp run --repo calendar --check %q --budget 0.50 %q", demoCheck, demoPrompt)
}

// proof shows the diff, and holds our ledger against the vendor's own books.
func (d *demo) proof(ctx context.Context, c *client.Client, repo, agent string, vendor *vendorsim.Server) error {
	ctx = context.WithoutCancel(ctx)
	diff, err := d.git(ctx, repo, "log", "-p", "--format=%h %s", "--branches=corp/*", "--not", "main")
	if err != nil {
		return err
	}
	d.say("\n$ git log -p main..corp/…\n%s", strings.TrimSpace(diff))
	tasks, err := c.Tasks(ctx, client.TaskQuery{Agent: agent}, corp.Page{Limit: 1})
	if err != nil || len(tasks.Items) == 0 {
		return err
	}
	r, err := readResult(ctx, c, tasks.Items[0].ID)
	if err != nil {
		return err
	}
	books := vendor.Books()
	cost, err := priceOf(books)
	if err != nil {
		return err
	}
	theirs := usageOf(books.Total.Usage)
	d.say("\nour ledger:          %d calls, %d tokens in, %d out, %s (simulated)", r.Calls, r.Usage.Input(), r.Usage.Output, r.Cost)
	d.say("the vendor's books:  %d calls, %d tokens in, %d out, %s at list price", books.Total.Calls, theirs.Input(), theirs.Output, cost)
	if r.Usage != theirs || r.Cost != cost || r.Calls != books.Total.Calls {
		return &corp.Error{Kind: corp.KindInternal, Message: "The ledger and the vendor's books differ.", Hint: "This is a fault of corp: please report it with what stands above."}
	}
	d.say("They agree to the nanodollar.")
	return nil
}

// priceOf prices each call in the vendor's books by the price book.
func priceOf(books vendorsim.Books) (corp.Nanodollars, error) {
	prices, err := pricebook.Prices()
	if err != nil {
		return 0, fmt.Errorf("read the price book: %w", err)
	}
	book := pricebook.New(prices)
	var sum corp.Nanodollars
	for _, call := range books.Calls {
		quote, known := book.Lookup(corp.DialectAnthropic, call.Model, call.Time)
		if !known {
			return 0, fmt.Errorf("the price book has no row for %q", call.Model)
		}
		cost, _, _ := quote.Cost(usageOf(call.Usage))
		sum = corp.AddMoney(sum, cost)
	}
	return sum, nil
}

func usageOf(u vendorsim.Usage) corp.Usage {
	return corp.Usage{FreshInput: u.Input, CacheRead: u.CacheRead, CacheWriteShort: u.CacheWrite5m, CacheWriteLong: u.CacheWrite1h, Output: u.Output}
}
