package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newProvider(o *options) *cobra.Command {
	return parent("provider", "Say which vendor accounts model calls go through",
		newProviderAdd(o),
		newList(o, lister[corp.Provider]{
			short: "List the providers",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Provider], error) {
				return c.Providers(ctx, p)
			},
			header: []any{"NAME", "DIALECT", "VENDOR", "BASE URL", "OF", "ID"},
			columns: func(p corp.Provider) []any {
				of := "workspace"
				if p.Installation {
					of = "installation"
				}
				return []any{p.Name, p.Dialect, p.Vendor, p.BaseURL, of, p.ID}
			},
		}),
		newChange(o, "archive NAME", "Retire a provider; its calls stay in the ledger",
			func(ctx context.Context, c *client.Client, name string) (corp.Provider, error) {
				p, err := findProvider(ctx, c, name)
				if err != nil {
					return p, err
				}
				return c.ArchiveProvider(ctx, p.ID)
			},
			func(p corp.Provider) error { return o.showProvider(p, "archived", nil) }),
	)
}

func newProviderAdd(o *options) *cobra.Command {
	var ask client.ProviderRequest
	var keyEnv string
	var replace bool
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a vendor account",
		Long: `Adds a vendor account. Its key is read from the variable that --key-env names, sealed
by the server and never shown again; agents never see it.

The dialect anthropic is the Messages API; its address goes without the /v1. The
dialect openai is Chat Completions, which many vendors and servers speak; its
address is what their clients take as base URL. Prices go by --vendor: a model
whose price the price book does not know cannot be used under a budget, so for a
server of your own say what its models cost with "corp price add".

With --replace what is not said stays as it is, the key too, unless the address is
another one.`,
		Example: `  corp provider add together --dialect openai --base-url https://api.together.xyz/v1 --vendor together --key-env TOGETHER_API_KEY
  corp provider add ollama --dialect openai --base-url http://127.0.0.1:11434/v1 --vendor ollama --no-key
  corp provider add together --replace --key-env TOGETHER_API_KEY`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&ask.Dialect, "dialect", corp.DialectAnthropic, "the protocol that it speaks: anthropic or openai")
	f.StringVar(&ask.BaseURL, "base-url", "", "its address; for anthropic without /v1")
	f.StringVar(&keyEnv, "key-env", "", "the environment variable that holds its key")
	f.StringVar(&ask.Vendor, "vendor", "", "whose prices apply (default: the dialect's vendor, at its own address)")
	f.BoolVar(&ask.NoKey, "no-key", false, "it takes no key")
	f.BoolVar(&replace, "replace", false, "change the provider of this name, in what is said")
	cmd.MarkFlagsMutuallyExclusive("key-env", "no-key")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ask.Name = args[0]
		switch {
		case !replace && ask.BaseURL == "":
			return usageError{corp.Invalid("base-url", "A provider needs its address.", "Give --base-url; one that is there is changed with --replace.")}
		case !replace && keyEnv == "" && !ask.NoKey:
			return usageError{corp.Invalid("key-env", "A provider needs the vendor's key.", "Give --key-env, or --no-key for a server that takes none.")}
		}
		if ask.Key = o.env.Getenv(keyEnv); ask.Key == "" && keyEnv != "" {
			return usageError{corp.Invalid("key-env", fmt.Sprintf("The environment variable %q is empty or not set.", keyEnv), "Put the vendor's key in it: export "+keyEnv+"=…")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		var p corp.Provider
		if replace {
			if p, err = findProvider(cmd.Context(), c, ask.Name); err == nil {
				p, err = c.UpdateProvider(cmd.Context(), p.ID, unsaid(cmd, ask, p))
			}
		} else {
			p, err = c.CreateProvider(cmd.Context(), ask)
		}
		if e, ok := errors.AsType[*corp.Error](err); ok && e.Kind == corp.KindConflict && !replace {
			e.Hint = "Choose another name, or change the one that is there with --replace."
		}
		return o.showProvider(p, "saved", err)
	}
	return cmd
}

// unsaid fills in of a change what was not said, as it is.
func unsaid(cmd *cobra.Command, ask client.ProviderRequest, p corp.Provider) client.ProviderRequest {
	ask.Name = p.Name // it may have been named by its id
	for flag, field := range map[string]struct {
		to *string
		is string
	}{"dialect": {&ask.Dialect, p.Dialect}, "base-url": {&ask.BaseURL, p.BaseURL}, "vendor": {&ask.Vendor, p.Vendor}} {
		if !cmd.Flags().Changed(flag) {
			*field.to = field.is
		}
	}
	return ask
}

func (o *options) showProvider(p corp.Provider, done string, err error) error {
	if err != nil {
		return err
	}
	return o.print(p, func(w *tabwriter.Writer) {
		row(w, fmt.Sprintf("Provider %s (%s at %s) %s: %s", p.Name, p.Dialect, p.BaseURL, done, p.ID))
	})
}

// findProvider finds a provider of the workspace by name.
func findProvider(ctx context.Context, c *client.Client, name string) (corp.Provider, error) {
	all, err := collect(ctx, corp.MaxPage, c.Providers)
	if err != nil {
		return corp.Provider{}, err
	}
	for _, p := range all {
		if !p.Installation && (p.Name == name || p.ID.String() == name) {
			return p, nil
		}
	}
	return corp.Provider{}, corp.NotFound("provider of this workspace")
}
