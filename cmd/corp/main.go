// Command corp is Generic Corp in one binary: the server with PostgreSQL inside,
// the runner, the built-in agent, the simulated vendor and the command line.
//
// It reads the configuration, builds the parts, connects them and runs them.
// Nothing else in the project reads the environment, and nothing imports this.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules have time zones, also on a machine that knows none
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, newEnvironment(), os.Args[1:])
	stop()
	os.Exit(code)
}
