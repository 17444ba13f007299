package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/genericcorp/corp/cmd/corp/days"
	"github.com/genericcorp/corp/reconcile"
)

// retentionFlags are how long what only grows is kept.
func (c *config) retentionFlags(f *pflag.FlagSet) {
	flag := func(keep *days.Days, name string, value days.Days, usage string) {
		*keep = value
		f.Var(keep, name, usage)
	}
	flag(&c.KeepEntries, "retention-entries", 90*days.Day, "how long transcripts are kept after their run; whole months go; 0 keeps them for ever")
	flag(&c.KeepEvents, "retention-events", 90*days.Day, "how long events are kept; whole months go; 0 keeps them for ever")
	flag(&c.KeepCalls, "retention-calls", 400*days.Day, "how long the ledger of model calls is kept; whole months go; 0 keeps it for ever")
	flag(&c.KeepBlobs, "retention-blobs", 90*days.Day, "how long sources, results and patches are kept after their task; 0 keeps them for ever")
	flag(&c.KeepAudit, "keep-audit", 400*days.Day, "how long the audit log is kept, at least 90d; whole months go; 0 keeps it for ever")
}

func (c *config) retention() reconcile.Retention {
	return reconcile.Retention{
		Entries: time.Duration(c.KeepEntries), Events: time.Duration(c.KeepEvents), Calls: time.Duration(c.KeepCalls), Blobs: time.Duration(c.KeepBlobs), Audit: time.Duration(c.KeepAudit),
	}
}
