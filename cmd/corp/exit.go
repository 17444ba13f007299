package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// The exit codes. They are part of the contract: scripts branch on them.
const (
	exitOK        = 0
	exitError     = 1 // something in between broke: the server, the network, the disk
	exitUsage     = 2 // the command or its input is wrong
	exitFailed    = 3 // the run failed, or its check did not pass
	exitCancelled = 4
	exitLimit     = 5 // a money limit stopped it
)

// codeError is an error that has been told to the user already, and only sets
// the exit code.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// usageError marks input that is wrong on the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode returns what the process ends with because of err.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if code, ok := errors.AsType[codeError](err); ok {
		return int(code)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	switch corp.KindOf(err) {
	case corp.KindInvalid, corp.KindNotFound, corp.KindConflict, corp.KindForbidden, corp.KindUnauthenticated:
		return exitUsage
	case corp.KindLimit:
		if e, ok := errors.AsType[*corp.Error](err); ok && e.Code == "rate_limited" {
			return exitError // it works later, without anybody raising a limit
		}
		return exitLimit
	default:
		return exitError
	}
}

// report writes an error for a person: the sentence, the field it is about, and
// what to do next. It may repeat what a server or a remote said, so it is cleaned.
func report(w io.Writer, err error) {
	if _, ok := errors.AsType[codeError](err); ok {
		return
	}
	e, ok := errors.AsType[*corp.Error](err)
	if !ok {
		_, _ = fmt.Fprintf(w, "corp: %s\n", terminal.Clean(err.Error()))
		return
	}
	var b strings.Builder
	b.WriteString("corp: ")
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Message)
	if e.Err != nil {
		fmt.Fprintf(&b, " (%v)", e.Err)
	}
	if e.Hint != "" {
		b.WriteString("\n      " + e.Hint)
	}
	_, _ = fmt.Fprintln(w, terminal.Clean(b.String()))
}
