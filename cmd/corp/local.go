package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
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

// patience is how long the command line waits for a server that is starting
// again, before it gives up.
const patience = 20 * time.Second

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

// connect returns a client for the server that the flags, the environment or the
// local context name, in that order.
func (o *options) connect() (*client.Client, error) {
	return o.connectAs(func(l local) string { return l.Key })
}

// connectOperator is connect with the operator's key.
func (o *options) connectOperator() (*client.Client, error) {
	return o.connectAs(func(l local) string { return l.Operator })
}

// names says whether a server is among those that a list of one installation's
// servers names.
func names(list, server string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.TrimRight(strings.TrimSpace(one), "/") == strings.TrimRight(server, "/") {
			return true
		}
	}
	return false
}

func (o *options) connectAs(which func(local) string) (*client.Client, error) {
	server, key := o.Server, o.Key
	if server == "" {
		server = o.env.Getenv("CORP_SERVER")
	}
	if key == "" {
		key = o.env.Getenv("CORP_KEY")
	}
	if server == "" || key == "" {
		l, err := readLocal(o.dataFolder())
		switch {
		case err == nil:
			// A key belongs to its installation: never send the local one to another.
			if server == "" {
				server = l.Server
			}
			if key == "" && names(server, l.Server) {
				key = which(l)
			}
		case errors.Is(err, fs.ErrNotExist):
		default:
			return nil, err
		}
	}
	if server == "" {
		return nil, &corp.Error{Kind: corp.KindUnavailable, Message: "No server is running on this machine that this user may use.", Hint: "Start one with \"corp up\", or name one with --server and --key (or CORP_SERVER and CORP_KEY)."}
	}
	if key == "" {
		return nil, &corp.Error{Kind: corp.KindUnauthenticated, Field: "key", Message: "There is no key for " + server + ".", Hint: "Give one with --key or CORP_KEY; \"corp key create\" makes one on the server's machine."}
	}
	return client.New(server, key, client.Options{Patience: patience, UserAgent: "corp/" + version}), nil
}
