package gitwork

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

const (
	gitPath   = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	killDelay = 5 * time.Second

	// complaintBytes is how much of git's error stream is kept.
	complaintBytes = 4 << 10
	// answerBytes bounds what git may print as an answer that is parsed.
	answerBytes = 256 << 20
)

// setting is one entry of git's configuration.
type setting struct{ key, value string }

// hardening is set for every call. It is passed through the environment, which
// outranks every file that a repository brings along.
var hardening = []setting{
	{"core.hooksPath", "/dev/null"},
	{"core.fsmonitor", "false"},
	{"core.alternateRefsCommand", "true"}, // says that there are none
	{"core.attributesFile", "/dev/null"},
	{"core.excludesFile", "/dev/null"},
	{"core.autocrlf", "false"},
	{"core.logAllRefUpdates", "false"},
	{"core.untrackedCache", "false"},
	{"credential.helper", ""},
	{"protocol.allow", "never"},
	{"submodule.recurse", "false"},
	{"fetch.recurseSubmodules", "false"},
	{"fetch.writeCommitGraph", "false"},
	{"push.recurseSubmodules", "no"},
	{"commit.gpgSign", "false"},
	{"push.gpgSign", "false"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"safe.directory", "*"},
	{"advice.addEmbeddedRepo", "false"},
	{"http.lowSpeedLimit", "1000"},
	{"http.lowSpeedTime", "60"},
}

// overNetwork allows the transports of schemes.
func overNetwork() []setting {
	var config []setting
	for _, s := range schemes {
		config = append(config, setting{"protocol." + s + ".allow", "always"})
	}
	return config
}

// fromFile allows the local transport, for paths that we chose ourselves.
var fromFile = []setting{{"protocol.file.allow", "always"}}

// allowedProtocols lists the transports that a configuration allows, as git's
// own variable has it. Unlike protocol.allow it cannot be outdone by a
// repository that allows itself a single one, such as ext, which runs commands.
func allowedProtocols(config []setting) string {
	var names []string
	for _, s := range config {
		rest, isProtocol := strings.CutPrefix(s.key, "protocol.")
		if name, allows := strings.CutSuffix(rest, ".allow"); isProtocol && allows {
			names = append(names, name)
		}
	}
	return strings.Join(names, ":")
}

// sshCommand lets ssh use what the operator hands in by SSH_AUTH_SOCK and what
// the system knows of hosts. The keys and the configuration in the home of the
// runner's user are that user's: a task of any workspace could name an address
// that they open.
const sshCommand = "ssh -F none -oIdentityFile=none -oForwardAgent=no -oBatchMode=yes -oConnectTimeout=20 -oProxyCommand=none -oProxyJump=none"

// environment is the whole environment of a git process: none of the user's
// or the system's configuration, no prompt, no replaced objects.
func environment(home string, config []setting) []string {
	env := []string{
		"PATH=" + gitPath, "HOME=" + home, "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=",
		"GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_EDITOR=false", "GIT_PAGER=cat",
		"GIT_SSH_COMMAND=" + sshCommand, "GIT_ALLOW_PROTOCOL=" + allowedProtocols(config),
	}
	all := append(append([]setting{}, hardening...), config...)
	for i, s := range all {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s.key), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s.value))
	}
	return append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(all)))
}

// call is one run of git outside the sandbox.
type call struct {
	dir    string
	home   string
	config []setting
	env    []string
	stdin  io.Reader
	stdout io.Writer // nil collects the answer
	secret Credential
}

// git runs git outside the sandbox and returns what it printed, without the
// last line break. Its whole process group dies with ctx.
func git(ctx context.Context, c call, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdin = c.dir, c.stdin
	cmd.Env = append(append(environment(c.home, c.config), "GIT_CONFIG_GLOBAL=/dev/null"), c.env...)
	answer, complaint := &bounded{left: answerBytes}, sandbox.NewCapped(complaintBytes, complaintBytes)
	cmd.Stdout, cmd.Stderr = answer, complaint
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", fmt.Errorf("git %s: %w", verb(args), context.Cause(ctx))
	}
	if errors.Is(err, exec.ErrNotFound) {
		return "", &corp.Error{Kind: corp.KindUnavailable, Code: string(corp.ReasonRepository), Message: "There is no git on this machine.", Hint: "Install git 2.31 or newer.", Err: err}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", &gitError{command: verb(args), said: c.secret.redact(strings.TrimSpace(complaint.String())), code: exit.ExitCode()}
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w", verb(args), err)
	}
	return strings.TrimSuffix(answer.String(), "\n"), nil
}

// verb names the subcommand for an error: the first word that is no option.
func verb(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

// bounded collects an answer and fails when it grows beyond reason.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("git answered with more than can be read")
	}
	return b.Buffer.Write(p)
}

// trusted runs git on the trusted repository, outside the sandbox.
func (c *Checkout) trusted(ctx context.Context, config []setting, args ...string) (string, error) {
	return git(ctx, call{dir: c.place.Folder.Git(), home: c.place.Folder.Root(), config: config}, append([]string{"--git-dir=" + c.place.Folder.Git()}, args...)...)
}

// shut is one command in a sandbox that sees the checkout, the trusted
// repository (read-only) and the scratch folder, and no network.
type shut struct {
	config []setting
	env    []string
	stdin  io.Reader
	stdout io.Writer // nil collects the answer
}

func (c *Checkout) profile() sandbox.Profile {
	f := c.place.Folder
	return sandbox.Profile{
		Level: c.place.Level, Binary: c.place.Binary, Checkout: f.Checkout(),
		Mounts: []sandbox.Mount{{Source: f.Git(), Target: "/corp/git"}, {Source: f.Scratch(), Target: "/corp/scratch", Writable: true}},
	}
}

// inside runs argv in such a sandbox and returns what it printed.
func (c *Checkout) inside(ctx context.Context, s shut, argv ...string) (string, error) {
	p := c.profile()
	home := p.Inside(c.place.Folder.Scratch())
	p.Env = append(environment(home, s.config), "TMPDIR="+home, "GIT_CONFIG_GLOBAL="+p.Inside(c.globalConfig()))
	p.Env = append(p.Env, s.env...)
	process, err := sandbox.Command(ctx, p, argv...)
	if err != nil {
		return "", fmt.Errorf("run git in the sandbox: %w", err)
	}
	answer, complaint := &bounded{left: answerBytes}, sandbox.NewCapped(complaintBytes, complaintBytes)
	process.Stdin, process.Stdout, process.Stderr = s.stdin, answer, complaint
	if s.stdout != nil {
		process.Stdout = s.stdout
	}
	if err := process.Start(); err != nil {
		return "", fmt.Errorf("run git in the sandbox: %w", err)
	}
	exit, err := process.Wait()
	if ctx.Err() != nil {
		return "", fmt.Errorf("run git in the sandbox: %w", context.Cause(ctx))
	}
	if err != nil {
		return "", fmt.Errorf("run git in the sandbox: %w", err)
	}
	if !exit.OK() {
		return "", &gitError{command: verb(argv[1:]), said: strings.TrimSpace(complaint.String()), code: exit.Code}
	}
	return strings.TrimSuffix(answer.String(), "\n"), nil
}

// globalConfig is the one configuration file that sandboxed git reads. It lies
// in the trusted repository because git's helper processes take
// safe.directory from a file only.
func (c *Checkout) globalConfig() string { return c.place.Folder.Git() + "/corp.config" }

func (c *Checkout) writeGlobalConfig() error {
	//nolint:gosec // G306: the sandbox reads it as another user; the run's folder is 0700
	if err := os.WriteFile(c.globalConfig(), []byte("[safe]\n\tdirectory = *\n"), 0o644); err != nil {
		return fmt.Errorf("write git configuration: %w", err)
	}
	return nil
}
