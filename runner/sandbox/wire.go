package sandbox

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Subcommand is the hidden subcommand of corp that calls Init.
const Subcommand = "sandbox-init"

// The descriptors through which the runner and the first process talk. What is
// to be run travels through the control pipe: on an argument list other users
// of the machine could read its environment, and in bubblewrap's own
// environment it would act outside the sandbox (LD_PRELOAD).
const (
	controlFD = 3
	statusFD  = 4
	firstFile = 5
)

// The runner's only word on the control pipe, after the order. The end of the
// pipe is a kill, whether the runner closed it or died.
const controlTerminate = 'T'

// order is what the first process shall do.
type order struct {
	Argv     []string `json:"argv"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`
	UID      int      `json:"uid"` // become this user; 0 stays
	Limits   Limits   `json:"limits"`
	Isolated bool     `json:"isolated"` // it is the first process of a process space
	Port     int      `json:"port"`     // loopback port that leads to Socket; 0 for none
	Socket   string   `json:"socket"`   // path of the gateway's socket inside
}

// report is one line on the status pipe.
type report struct {
	Started bool   `json:"started,omitempty"`
	Error   string `json:"error,omitempty"`
	Command bool   `json:"command,omitempty"` // the error is the command's, not the sandbox's
	Ended   bool   `json:"ended,omitempty"`
	Code    int    `json:"code,omitempty"`
	Signal  string `json:"signal,omitempty"`
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write sandbox message: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write sandbox message: %w", err)
	}
	return nil
}

func readLine(r *bufio.Reader, v any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read sandbox message: %w", err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("read sandbox message: %w", err)
	}
	return nil
}
