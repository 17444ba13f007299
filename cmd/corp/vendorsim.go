package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/vendorsim"
)

func newVendorsim(o *options) *cobra.Command {
	var listen, journal string
	var files, keys []string
	cmd := &cobra.Command{
		Use: "vendorsim --scenario FILE", Short: "Serve a simulated model vendor", Args: cobra.NoArgs,
		Long: `Speaks a vendor's protocol on the wire and plays scenarios from YAML files, for
tests, demonstrations and load. Everything it answers is marked as simulated.
Its own books of what it served are at /_sim/books. docs/vendorsim.md explains
the scenarios; "--scenario example" plays the built-in example.`,
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:7500", "address")
	f.StringSliceVar(&files, "scenario", nil, "scenario file, or the name of a built-in one; the first that matches answers")
	f.StringSliceVar(&keys, "api-key", nil, "accept only these keys (default: any, but none is refused)")
	f.StringVar(&journal, "journal", "", "file that gets a JSON line per call")
	_ = cmd.MarkFlagRequired("scenario")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		scenarios, err := loadScenarios(files)
		if err != nil {
			return err
		}
		settings := vendorsim.Options{Keys: keys, Logger: newLogger(o.env.Err, "text", "info")}
		if journal != "" {
			file, err := os.OpenFile(journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				return usageError{&corp.Error{Kind: corp.KindInvalid, Field: "journal", Message: "The journal cannot be written.", Hint: "Name another file.", Err: err}}
			}
			defer func() { _ = file.Close() }()
			settings.Journal = file
		}
		l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
		if err != nil {
			return usageError{&corp.Error{Kind: corp.KindInvalid, Field: "listen", Message: "The simulated vendor cannot listen on " + listen + ".", Hint: "Name another address.", Err: err}}
		}
		_, _ = fmt.Fprintf(o.env.Out, "simulated vendor on http://%s (ctrl-c ends it)\n", l.Addr())
		return serve(cmd.Context(), cmd.Context(), l, vendorsim.New(settings, scenarios...), 5*time.Second)
	}
	return cmd
}

func loadScenarios(names []string) ([]*vendorsim.Scenario, error) {
	scenarios := make([]*vendorsim.Scenario, 0, len(names))
	for _, name := range names {
		s, err := loadScenario(name)
		if err != nil {
			return nil, usageError{&corp.Error{Kind: corp.KindInvalid, Field: "scenario", Message: fmt.Sprintf("The scenario %q cannot be played.", name), Hint: "docs/vendorsim.md explains the format.", Err: err}}
		}
		scenarios = append(scenarios, s)
	}
	return scenarios, nil
}

func loadScenario(name string) (*vendorsim.Scenario, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if s, builtIn := vendorsim.Embedded(name); builtIn == nil {
			return s, nil
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return vendorsim.Load(file)
}

// simulate serves a scenario on a port of its own until ctx ends, for the demo.
func simulate(ctx context.Context, scenario io.Reader) (*vendorsim.Server, string, error) {
	s, err := vendorsim.Load(scenario)
	if err != nil {
		return nil, "", err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("listen for the simulated vendor: %w", err)
	}
	vendor := vendorsim.New(vendorsim.Options{}, s)
	srv := &http.Server{Handler: vendor, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	return vendor, "http://" + l.Addr().String(), nil
}
