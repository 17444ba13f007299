package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client/contexts"
)

// local is the context that "corp up" leaves in its data folder, so that the
// command line on the same machine signs itself in.
type local struct {
	Server    string          `json:"server"`
	Key       string          `json:"key"`
	Operator  string          `json:"operator_key"`
	RunnerKey corp.OperatorID `json:"runner_key_id,omitzero"` // of the runner that the server started last
}

const localFile = "context.json"

// dataFolder returns where this machine's server keeps its state.
func (o *options) dataFolder() string {
	if o.Data != "" {
		return absolute(o.Data)
	}
	if dir := o.env.Getenv("CORP_DATA"); dir != "" {
		return absolute(dir)
	}
	return defaultData(o.env.Getenv)
}

// defaultData is the data folder where none is named.
func defaultData(getenv func(string) string) string {
	if os.Geteuid() == 0 {
		return "/var/lib/corp" // PostgreSQL runs as another user, who must reach it
	}
	if dir := getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "corp")
	}
	return filepath.Join(getenv("HOME"), ".local", "share", "corp")
}

func absolute(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	return abs
}

func readLocal(dir string) (local, error) {
	var l local
	b, err := os.ReadFile(filepath.Join(dir, localFile))
	if err != nil {
		return l, fmt.Errorf("read local context: %w", err)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("read local context: %w", err)
	}
	return l, nil
}

func writeLocal(dir string, l local) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write local context: %w", err)
	}
	path := filepath.Join(dir, localFile)
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write local context: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write local context: %w", err)
	}
	return nil
}

// names says whether a server is among those that a list of one installation's
// servers names.
func names(list, server string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if contexts.SameServer(strings.TrimSpace(one), server) {
			return true
		}
	}
	return false
}
