// Package sandbox starts a process that nobody trusts: an agent, the check
// command of a task, or git on an agent's files. Under the level "bubblewrap"
// the process has name spaces of its own and sees a read-only system, its
// checkout, its HOME and a private /tmp at the same absolute paths on every
// machine; its only way out is a loopback port that leads to the gateway. Under
// the level "none" the same calls work with real paths and isolate nothing.
//
// The package also keeps the folder of a run, the outer end of that way out
// (Gateway), and the writer that bounds what a process may print (Capped).
//
// It refuses to pass on the caller's environment, to share a network, to follow
// a link that an agent made, and to fall back to "none" by itself.
package sandbox

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/genericcorp/corp"
)

// Level says how strongly a process is shut in.
type Level string

// The levels. None is only for machines that are themselves thrown away.
const (
	Bubblewrap Level = "bubblewrap"
	None       Level = "none"
)

// detectTimeout bounds the trial run of Detect.
const detectTimeout = 20 * time.Second

// ParseLevel reads a level by its name. Any other text is an invalid error
// whose Field is "sandbox".
func ParseLevel(s string) (Level, error) {
	switch l := Level(s); l {
	case Bubblewrap, None:
		return l, nil
	default:
		return "", corp.Invalid("sandbox", fmt.Sprintf("%q is not a sandbox level.", s), "Use bubblewrap or none.")
	}
}

// Detect starts a process under bubblewrap, as a run would, and returns
// Bubblewrap if that worked. Otherwise it returns an unavailable error whose
// Hint says what to install or allow. It never returns None: to give up
// isolation is a decision for a person. The binary is the path of corp itself.
func Detect(ctx context.Context, binary string) (Level, error) {
	ctx, cancel := context.WithTimeout(ctx, detectTimeout)
	defer cancel()
	work, err := os.MkdirTemp("", "corp-sandbox-")
	if err != nil {
		return "", fmt.Errorf("detect sandbox: %w", err)
	}
	level, err := try(ctx, work, binary)
	if removeErr := os.RemoveAll(work); err == nil && removeErr != nil {
		return "", fmt.Errorf("detect sandbox: %w", removeErr)
	}
	return level, err
}

func try(ctx context.Context, work, binary string) (Level, error) {
	folder := FolderOf(work, corp.RunID{1})
	if err := folder.Make(Bubblewrap); err != nil {
		return "", err
	}
	p, err := Command(ctx, Profile{Level: Bubblewrap, Binary: binary, Checkout: folder.Checkout(), Home: folder.Home(), Tmp: folder.Tmp()}, "true")
	if err != nil {
		return "", err
	}
	if err := p.Start(); err != nil {
		return "", err
	}
	exit, err := p.Wait()
	if err != nil {
		return "", err
	}
	if !exit.OK() {
		return "", unavailable(fmt.Errorf("the trial process ended with %s", exit))
	}
	return Bubblewrap, nil
}

// unavailable is the one error for a sandbox that could not be made. Its Code
// is corp.ReasonSandbox, so that a runner can tell it from an agent's failure.
func unavailable(cause error) *corp.Error {
	return &corp.Error{
		Kind:    corp.KindUnavailable,
		Code:    string(corp.ReasonSandbox),
		Message: "The sandbox could not be made with bubblewrap on this machine.",
		Field:   "sandbox",
		Hint: "Install bubblewrap 0.8 or newer (apt install bubblewrap, dnf install bubblewrap, apk add bubblewrap) and allow user name spaces " +
			"(on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0; in a container: --security-opt seccomp=unconfined). " +
			"On a machine that holds nothing of worth you may give up isolation with --sandbox none.",
		Err: cause,
	}
}

// firstLines shortens what a tool wrote on its error stream to one line.
func firstLines(s string) string {
	lines := strings.FieldsFunc(strings.TrimSpace(s), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[:min(len(lines), 4)], "; ")
}
