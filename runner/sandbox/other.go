//go:build !linux

package sandbox

import (
	"context"

	"github.com/genericcorp/corp"
)

// Runs are carried out on Linux. Elsewhere the package compiles, so that the
// command line works there, and every process is refused.

func prepare(context.Context, Profile, []string) (*Process, error) {
	return nil, &corp.Error{
		Kind: corp.KindUnavailable, Code: string(corp.ReasonSandbox),
		Message: "Runs are carried out on Linux only.", Hint: "Start the runner on a Linux machine and point this command line at its server.",
	}
}

func give(string, Level) error { return nil }

// Init refuses: there is no sandbox on this system.
func Init() int { return 126 }

// Conceal does nothing where no sandbox is.
func Conceal() error { return nil }
