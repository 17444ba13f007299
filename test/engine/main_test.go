//go:build engine || soak

// Package engine is the conformance and fault suite of the queue: it starts real
// servers on a real PostgreSQL, has simulated and real runners take work from
// them, kills and cuts what can be killed and cut, and holds what it sees against
// the invariants.
//
// What it believes comes from oracles that are none of the product's: triggers
// that write down every transition and count slots at every commit, what the
// simulated runners saw, and the simulated vendor's books. It tests no part on
// its own, and it looks for no fault in what an agent does.
//
// "make test-engine" runs it, "make soak" the random load.
package engine

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the corp that the suite runs.
var (
	binary string
	shop   string // folder of what this process builds and caches

	mutation string // the overlay of a deliberate mutation, if there is one
)

// The environment of the suite itself.
const (
	envSim      = "ENGINE_SIM"      // this process is a simulated runner, by the JSON in it
	envOverlay  = "ENGINE_OVERLAY"  // a build overlay: a deliberate mutation
	envReport   = "ENGINE_REPORT"   // where to write the table
	envSeed     = "ENGINE_SEED"     // repeat a random run
	envPatience = "ENGINE_PATIENCE" // how long to wait for what should come in seconds
)

func TestMain(m *testing.M) {
	if text := os.Getenv(envSim); text != "" {
		os.Exit(simProcess(text))
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	fail := func(what string, err error) int {
		_, _ = fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		return 1
	}
	var err error
	if shop, err = os.MkdirTemp(memory(), "corp-engine-"); err != nil {
		return fail("make a folder", err)
	}
	defer func() { _ = os.RemoveAll(shop) }()
	if err := os.Chmod(shop, 0o755); err != nil { // PostgreSQL and sandboxes may be another user
		return fail("open the folder", err)
	}
	var flags []string
	if overlay := os.Getenv(envOverlay); overlay != "" {
		flags = []string{"-overlay", overlay}
		mutation = overlay
	}
	if binary, err = build("corp", flags...); err != nil {
		return fail("build corp", err)
	}
	code := m.Run()
	if err := table.publish(os.Getenv(envReport)); err != nil {
		return fail("write the report", err)
	}
	return code
}

// build builds the one binary and returns where it is.
func build(name string, flags ...string) (string, error) {
	path := filepath.Join(shop, name)
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags", "-s -w"}, flags...), "-o", path, "github.com/genericcorp/corp/cmd/corp")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
}

// memory is a folder in memory, where there is one: fsync costs nothing there.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}
