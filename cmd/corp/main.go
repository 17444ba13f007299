// Command corp is Generic Corp in one binary: the server with PostgreSQL inside,
// the runner, the built-in agent, the simulated vendor and the command line.
//
// It reads the configuration, builds the parts, connects them and runs them.
// Nothing else in the project reads the environment, and nothing imports this.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // schedules have time zones, also on a machine that knows none
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go endAtSecond(ctx, os.Stderr, os.Exit)
	code := execute(ctx, newEnvironment(), os.Args[1:])
	stop()
	os.Exit(code)
}

// sameCtrlC is how long after a stop began a further interrupt is still the first
// one: programs such as npm pass on to us what the terminal has sent us already.
const sameCtrlC = 500 * time.Millisecond

// endAtSecond ends the process at once when somebody presses ctrl-c again while
// it stops. The kernel then ends the runner, its sandboxes and the PostgreSQL
// inside; what was accepted is committed, and a run in hand goes on at the next
// start, when its lease has run out. A second SIGTERM is only a supervisor's
// reminder.
func endAtSecond(ctx context.Context, w io.Writer, exit func(int)) {
	<-ctx.Done()
	time.Sleep(sameCtrlC)
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt)
	<-again
	_, _ = fmt.Fprintln(w, "corp: ended at once")
	exit(exitError)
}
