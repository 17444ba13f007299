// Package test proves the product from the outside: it builds the one binary,
// starts it as a user would, and speaks to it through the command line and the
// API. Only the model vendor is simulated.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the corp that all tests run.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "corp-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "corp")
	if err := os.Chmod(dir, 0o755); err != nil { // sandboxes of another user must reach the binary
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-o", binary, "../cmd/corp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build corp: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
