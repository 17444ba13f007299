// Package gitwork brings a repository to an agent and the agent's work back: it
// fetches the base commit into a trusted repository outside the sandbox's
// reach, makes the agent's own clone, turns the files that the agent leaves
// into one commit, and delivers that as a branch or a bundle. It also holds the
// two steps of the command line: a bundle of the base, and the result's branch.
//
// All that a repository or an agent controls is hostile. Whatever reads files
// of the checkout runs in a sandbox with no network; whatever holds a
// credential never sees the checkout. The trusted repository is never writable
// in a sandbox: results come back as a bundle, whose objects are checked.
//
// It refuses to run hooks, filters or anything else that a repository
// configures, to use transports other than https, http, ssh and git, to push
// outside corp/, and to put a credential on a command line, a disk or an error.
package gitwork

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/runner/sandbox"
)

// baseRef is where the base commit is kept in trusted repositories and bundles.
const baseRef = "refs/corp/base"

// Place is where the git work of one run happens.
type Place struct {
	Folder sandbox.Folder // made by the caller for this run
	Level  sandbox.Level
	Binary string // path of corp itself, for the sandbox
	Task   corp.TaskID

	// NetworkEnv is added to the environment of git when it talks to a remote:
	// the operator's proxy, certificates, SSH agent. It never reaches a sandbox.
	NetworkEnv []string
	// Outbound says which remotes may be reached; the zero policy is closed.
	Outbound outbound.Policy
}

// ReasonOf returns why a run ends when a call of this package fails with err:
// repository, base, delivery, disk_full or sandbox; internal for anything else,
// and none for nil.
func ReasonOf(err error) corp.Reason {
	if err == nil {
		return corp.ReasonNone
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return corp.ReasonDiskFull
	}
	if e, ok := errors.AsType[*corp.Error](err); ok {
		switch r := corp.Reason(e.Code); r {
		case corp.ReasonRepository, corp.ReasonBase, corp.ReasonDelivery, corp.ReasonDiskFull, corp.ReasonSandbox:
			return r
		default:
		}
	}
	return corp.ReasonInternal
}

func problem(reason corp.Reason, kind corp.Kind, field, message, hint string) *corp.Error {
	return &corp.Error{Kind: kind, Code: string(reason), Field: field, Message: message, Hint: hint}
}

func badRepository(message string) *corp.Error {
	return problem(corp.ReasonRepository, corp.KindInvalid, "repository", message,
		"Use an https, http, ssh or git address, such as https://host/owner/name.git; for a folder on your machine pass its path to corp run.")
}

func badBase(base, message string) *corp.Error {
	return problem(corp.ReasonBase, corp.KindInvalid, "base", fmt.Sprintf(message, base), "Name a branch, a tag or a full commit id that the repository has.")
}

// gitError is git ending with an error; what it said decides what it means.
type gitError struct {
	command string
	said    string // its error stream, without secrets
	code    int
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: exit code %d: %s", e.command, e.code, e.said)
}

func (e *gitError) says(words ...string) bool {
	said := strings.ToLower(e.said)
	for _, w := range words {
		if strings.Contains(said, w) {
			return true
		}
	}
	return false
}

// explain gives a failure of git its sentence. The reason is what the failed
// step was for. An error that has its sentence already keeps it.
func explain(err error, reason corp.Reason) error {
	if _, ok := errors.AsType[*corp.Error](err); ok {
		return err
	}
	git, ok := errors.AsType[*gitError](err)
	if !ok {
		return err
	}
	e := sentence(git, reason)
	e.Err = err
	return e
}

func sentence(git *gitError, reason corp.Reason) *corp.Error {
	switch {
	case git.says("no space left on device", "disk quota exceeded"):
		return problem(corp.ReasonDiskFull, corp.KindUnavailable, "", "There is no space left on the runner's disk.", "Free space in the runner's work folder, or move it to a larger disk.")
	case git.says("authentication failed", "could not read username", "could not read password", "permission denied (publickey", "returned error: 401", "returned error: 403", "host key verification failed"):
		return problem(reason, corp.KindInvalid, "credential", "The repository did not accept the credential.", "Check that the credential is valid and may read this repository, and write to it if branches are to be pushed.")
	case git.says("not found", "does not appear to be a git repository", "no such repository", "returned error: 404"):
		return problem(reason, corp.KindInvalid, "repository", "There is no repository at this address, or the credential may not see it.", "Check the address and the credential.")
	case git.says("could not resolve", "failed to connect", "couldn't connect", "connection refused", "timed out", "connection reset", "network is unreachable", "unable to connect", "no route to host", "could not read from remote", "empty reply", "hung up", "returned error: 5", "ssl", "certificate", "unable to access"):
		return problem(reason, corp.KindUnavailable, "repository", "The repository could not be reached.", "Check the address, and that the runner may connect to it; the task can be tried again.")
	default:
		return problem(reason, corp.KindUnavailable, "", "Git could not complete the step.", "The cause is in the runner's log; the task can be tried again.")
	}
}
