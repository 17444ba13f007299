package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/genericcorp/corp/reconcile"
)

const day = days(24 * time.Hour)

// days is a time so long that people count it in days. 0 stands for ever.
type days time.Duration

// String writes it as it may be set.
func (d *days) String() string {
	if *d%day == 0 {
		return strconv.FormatInt(int64(*d/day), 10) + "d"
	}
	return time.Duration(*d).String()
}

// Set reads 90d, 2160h, or 0 for ever. Less than a day is a mistake: it would
// take away what people are still looking at.
func (d *days) Set(text string) error {
	v, err := time.ParseDuration(text)
	if n, ok := strings.CutSuffix(text, "d"); ok {
		var count int64
		if count, err = strconv.ParseInt(n, 10, 64); err == nil && count > 36500 {
			err = fmt.Errorf("more than a century")
		}
		v = time.Duration(count) * time.Duration(day)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a number of days like 90d", text)
	case v != 0 && v < time.Duration(day):
		return fmt.Errorf("%q is less than a day", text)
	}
	*d = days(v)
	return nil
}

// retentionFlags are how long what only grows is kept.
func (c *config) retentionFlags(f *pflag.FlagSet) {
	flag := func(keep *days, name string, value days, usage string) {
		*keep = value
		f.Var(keep, name, usage)
	}
	flag(&c.KeepEntries, "retention-entries", 90*day, "how long transcripts are kept after their run; whole months go; 0 keeps them for ever")
	flag(&c.KeepEvents, "retention-events", 90*day, "how long events are kept; whole months go; 0 keeps them for ever")
	flag(&c.KeepCalls, "retention-calls", 400*day, "how long the ledger of model calls is kept; whole months go; 0 keeps it for ever")
	flag(&c.KeepBlobs, "retention-blobs", 90*day, "how long sources, results and patches are kept after their task; 0 keeps them for ever")
}

func (c *config) retention() reconcile.Retention {
	return reconcile.Retention{
		Entries: time.Duration(c.KeepEntries), Events: time.Duration(c.KeepEvents), Calls: time.Duration(c.KeepCalls), Blobs: time.Duration(c.KeepBlobs),
	}
}

// Type is the word that the help shows.
func (*days) Type() string { return "days" }
