package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// Recover makes good for the previous process of this data folder and opens the
// gateway. What that process had counted is recorded exactly; a call that it had
// sent and not counted is recorded at its bound, as an estimate; then its
// allowances are closed. Killed half-way, it does the same again at the next
// start: recording a call twice changes nothing, and the journal stays until all
// of it is done. It returns an error when the database does not answer, and may
// then be called again.
func (g *Gateway) Recover(ctx context.Context) error {
	if g.journal.Load() != nil {
		return errors.New("the gateway is recovered already")
	}
	if g.lock == nil {
		l, err := takeLock(g.JournalPath + ".lock")
		if err != nil {
			return err
		}
		g.lock = l
	}
	if err := g.readPrices(ctx); err != nil {
		return err
	}
	boot := bootID()
	before, err := readJournal(g.JournalPath)
	if err != nil {
		// Whoever finds that server dead settles its allowances; this file can only
		// be looked at by a person.
		aside := fmt.Sprintf("%s.unreadable-%d", g.JournalPath, time.Now().Unix())
		if moved := os.Rename(g.JournalPath, aside); moved != nil {
			return errors.Join(err, moved)
		}
		g.Logger.ErrorContext(ctx, "journal put aside", "path", aside, "error", err)
	}
	if before != nil {
		if err := g.replay(ctx, before, boot); err != nil {
			return fmt.Errorf("recover the calls of the last process: %w", err)
		}
	}
	j, err := createJournal(g.JournalPath, header{Version: journalVersion, Boot: boot, Server: g.Server})
	if err != nil {
		return err
	}
	g.journal.Store(j)
	return nil
}

// replay records what a journal knows and closes its server's allowances.
func (g *Gateway) replay(ctx context.Context, before *past, boot string) error {
	records := map[corp.WorkspaceID][]postgres.CallRecord{}
	unsettled := 0
	for _, l := range before.lines {
		if !l.Settled {
			unsettled++
			l.Record.Call = unsettledCall(l.Record.Call)
		}
		records[l.Workspace] = append(records[l.Workspace], l.Record)
	}
	for ws, list := range records {
		for len(list) > 0 {
			n := min(len(list), maxBatch)
			if err := g.DB.In(ws).RecordCalls(ctx, list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	// Without the same boot, or with a hole in the file, calls may be missing.
	whole := before.whole && boot != "" && boot == before.Boot
	closed, err := g.closeAllowances(ctx, before, whole)
	if err != nil {
		return err
	}
	g.Logger.InfoContext(ctx, "calls of the last process recovered", "server_id", before.Server, "calls", len(before.lines), "unsettled", unsettled, "allowances", closed, "exact", whole)
	return nil
}

// unsettledCall is what is written of a call whose answer nobody counted.
func unsettledCall(c corp.Call) corp.Call {
	c.Outcome, c.Estimated, c.Cost = corp.CallUnsettled, true, c.Reserved
	c.Detail = "The server stopped before the answer was counted; the cost is the most that it can have been."
	return c
}

func (g *Gateway) closeAllowances(ctx context.Context, before *past, whole bool) (int, error) {
	open, err := g.DB.System("gateway recovery").OpenAllowances(ctx, before.Server)
	if err != nil {
		return 0, err
	}
	for _, ref := range open {
		var lost *corp.Call
		if !whole {
			lost = &corp.Call{
				Outcome: corp.CallUnsettled, Estimated: true,
				Detail: "This server's journal does not tell all; the cost is the most that the calls it may be missing can have been.",
			}
		}
		if err := g.DB.In(ref.Workspace).CloseAllowance(ctx, ref.AllowanceID, lost); err != nil {
			return 0, err
		}
	}
	return len(open), nil
}

// bootID names the present run of this machine's kernel; "" when that is not known.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
