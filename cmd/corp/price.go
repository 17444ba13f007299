package main

import (
	"context"
	"fmt"
	"math"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newPrice(o *options) *cobra.Command {
	var filter corp.PriceFilter
	return parent("price", "Say what models cost",
		newPriceAdd(o),
		newList(o, lister[corp.Price]{
			short: "List the price book, in dollars per million tokens",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Price], error) {
				return c.Prices(ctx, filter, p)
			},
			flags: func(cmd *cobra.Command) {
				cmd.Flags().StringVar(&filter.Vendor, "vendor", "", "only of this vendor")
				cmd.Flags().StringVar(&filter.Model, "model", "", "only of this model")
			},
			header: []any{"VENDOR", "MODEL", "INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "WINDOW", "FROM"},
			columns: func(p corp.Price) []any {
				return []any{
					p.Vendor, p.Model, perMillion(p.Input), perMillion(p.CacheRead), perMillion(p.CacheWriteShort), perMillion(p.Output),
					p.ContextWindow, p.EffectiveFrom.Format(time.DateOnly),
				}
			},
		}),
	)
}

// picoPerNano turns dollars per million tokens, in nanodollars, into picodollars
// per token, and back.
const picoPerNano = 1000

func perMillion(p corp.Picodollars) string {
	if p > math.MaxInt64/picoPerNano {
		return "absurd"
	}
	return (corp.Nanodollars(p) * picoPerNano).String()
}

// rate is a flag in dollars per million tokens.
type rate struct {
	value corp.Picodollars
	set   bool
}

// String writes the rate as it is given.
func (r *rate) String() string {
	if !r.set {
		return ""
	}
	return perMillion(r.value)
}

// Type names the kind of the flag in the help.
func (*rate) Type() string { return "dollars" }

// Set reads dollars per million tokens.
func (r *rate) Set(text string) error {
	n, err := corp.ParseDollars(text)
	if err != nil || n%picoPerNano != 0 {
		return fmt.Errorf("%q is not an amount of dollars per million tokens with at most six decimals", text)
	}
	r.value, r.set = corp.Picodollars(n/picoPerNano), true
	return nil
}

func (r *rate) given() *corp.Picodollars {
	if !r.set {
		return nil
	}
	return &r.value
}

// rates are the five prices of a model.
type rates struct{ input, output, read, short, long rate }

func (r *rates) flags(f *pflag.FlagSet) {
	f.Var(&r.input, "input", "dollars per million tokens of prompt; 0 says that it is free")
	f.Var(&r.output, "output", "dollars per million tokens of answer")
	f.Var(&r.read, "cache-read", "for what is read from the cache (default: as input)")
	f.Var(&r.short, "cache-write", "for what is written to the cache (default: as input)")
	f.Var(&r.long, "cache-write-long", "for what is written to be kept for long (default: unknown)")
}

func newPriceAdd(o *options) *cobra.Command {
	var spec corp.PriceSpec
	var r rates
	var from string
	cmd := &cobra.Command{
		Use: "add MODEL", Short: "Add a model's price to the price book (the operator)",
		Long: `Adds a price, in dollars per million tokens, for all workspaces of the installation.
Under a budget only models with a known price can be used: this is how a model that
the price book lacks, or a server of your own, gets one. A price holds from its date
on and is never changed; add a new one instead. A model's first price holds about a
second later, a later one within 30 seconds.`,
		Example: `  corp price add qwen3-coder:30b --vendor ollama --input 0 --output 0 --context 65536 --max-output 16384
  corp price add gpt-7 --vendor openai --input 2 --cache-read 0.2 --cache-write 2.5 --output 10 --from 2027-01-01`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	r.flags(f)
	f.StringVar(&spec.Vendor, "vendor", "", "as the provider names it")
	f.StringVar(&from, "from", "", "the day from which it holds, as 2026-12-31 (default: now)")
	f.Int64Var(&spec.ContextWindow, "context", 0, "tokens of its context window (0: unknown)")
	f.Int64Var(&spec.MaxOutput, "max-output", 0, "tokens of its longest answer (0: unknown)")
	for _, name := range []string{"vendor", "input", "output"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		spec.Model, spec.Input, spec.Output = args[0], r.input.value, r.output.value
		spec.CacheRead, spec.CacheWriteShort, spec.CacheWriteLong = r.read.given(), r.short.given(), r.long.given()
		if from != "" {
			day, err := time.Parse(time.DateOnly, from)
			if err != nil {
				return usageError{corp.Invalid("from", fmt.Sprintf("%q is not a day.", from), "Write it like 2026-12-31.")}
			}
			spec.EffectiveFrom = &day
		}
		c, err := o.connectOperator()
		if err != nil {
			return err
		}
		p, err := c.AddPrice(cmd.Context(), spec)
		if err != nil {
			return err
		}
		return o.print(p, func(w *tabwriter.Writer) {
			row(w, fmt.Sprintf("%s of %s costs %s in and %s out per million tokens from %s on.", p.Model, p.Vendor, perMillion(p.Input), perMillion(p.Output), p.EffectiveFrom.Format(time.DateOnly)))
		})
	}
	return cmd
}
