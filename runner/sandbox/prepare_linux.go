package sandbox

import (
	"context"
	"os"
	"os/exec"
	"syscall"
)

// prepare builds the command line. What the process itself shall be travels in
// the order, see wire.go; the outer programs get an environment of one fixed
// PATH.
func prepare(ctx context.Context, p Profile, argv []string) (*Process, error) {
	process := &Process{
		ctx:    ctx,
		notice: NewCapped(noticeBytes, 0),
		order: order{
			Argv: argv, Env: p.environment(), Dir: p.directory(),
			Limits: p.Limits.withDefaults(), Isolated: p.Level == Bubblewrap,
		},
	}
	if p.Level == Bubblewrap {
		process.isolate(ctx, p)
	} else {
		process.cmd = exec.CommandContext(ctx, p.Binary, Subcommand)
		process.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	process.cmd.Env = []string{"PATH=" + defaultPath}
	process.cmd.Dir = "/"
	process.cmd.Cancel = func() error { process.Kill(); return nil }
	process.cmd.WaitDelay = drainTimeout
	return process, nil
}

func (p *Process) isolate(ctx context.Context, profile Profile) {
	uid, asRoot := insideUID, os.Geteuid() == 0
	if asRoot {
		uid = ownUID
		p.order.UID = ownUID
	}
	if profile.Gateway != "" {
		p.order.Port, p.order.Socket = GatewayPort, gatewayPath
	}
	for _, f := range generatedFiles(uid) {
		p.files = append(p.files, f.content)
	}
	args := append(profile.bubblewrapArguments(uid, asRoot, firstFile), "--", BinaryPath, Subcommand)
	p.cmd = exec.CommandContext(ctx, "bwrap", args...)
	if asRoot {
		p.cmd.SysProcAttr = rootNamespace()
	}
}
