package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// Hold takes the journal for this process. A conflict names the process that has
// it. Recover does the same; this is for who wants to know before it begins.
func (g *Gateway) Hold() error {
	if g.lock != nil {
		return nil
	}
	l, err := takeLock(g.JournalPath + ".lock")
	if err == nil {
		g.lock = l
	}
	return err
}

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
	if err := g.Hold(); err != nil {
		return err
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
	lines := map[corp.WorkspaceID][]line{}
	unsettled := 0
	for _, l := range before.lines {
		if !l.Settled {
			unsettled++
			l.Record.Call = unsettledCall(l.Record.Call)
		}
		lines[l.Workspace] = append(lines[l.Workspace], l)
	}
	// Without the same boot, or with a hole in the file, calls may be missing; what
	// one workspace lacks says nothing about another.
	whole := before.whole && boot != "" && boot == before.Boot
	var refused []line
	lacking := map[corp.WorkspaceID]bool{}
	for ws, list := range lines {
		for batch := range slices.Chunk(list, maxBatch) {
			out, err := g.recordPast(ctx, batch)
			if err != nil {
				return err
			}
			refused = append(refused, out...)
			lacking[ws] = lacking[ws] || len(out) > 0
		}
	}
	if err := g.putAside(ctx, before.header, refused); err != nil {
		return err
	}
	closed, err := g.closeAllowances(ctx, before, func(ws corp.WorkspaceID) bool { return whole && !lacking[ws] })
	if err != nil {
		return err
	}
	g.Logger.InfoContext(ctx, "calls of the last process recovered", "server_id", before.Server, "calls", len(before.lines), "unsettled", unsettled, "allowances", closed, "exact", whole)
	return nil
}

// passing says whether an error is about this moment and not about what was asked.
func passing(ctx context.Context, err error) bool {
	return ctx.Err() != nil || corp.KindOf(err) == corp.KindUnavailable
}

// recordPast records one workspace's calls and returns those that the database
// will never take: of a workspace that is not in it, or out of its bounds.
func (g *Gateway) recordPast(ctx context.Context, batch []line) (refused []line, err error) {
	records := make([]postgres.CallRecord, len(batch))
	for i := range batch {
		records[i] = batch[i].Record
	}
	err = g.DB.In(batch[0].Workspace).RecordCalls(ctx, records)
	switch {
	case err == nil:
		return nil, nil
	case passing(ctx, err):
		return nil, err
	case len(batch) == 1:
		g.Logger.ErrorContext(ctx, "call of the last process not recorded", "request_id", batch[0].Record.ID, "workspace_id", batch[0].Workspace, "error", err)
		return batch, nil
	}
	for one := range slices.Chunk(batch, 1) { // one must not hold up the others
		out, err := g.recordPast(ctx, one)
		if err != nil {
			return nil, err
		}
		refused = append(refused, out...)
	}
	return refused, nil
}

// putAside keeps lines that cannot be recorded in a file of the same form beside
// the journal, for a person to look at. The server must be able to start.
func (g *Gateway) putAside(ctx context.Context, h header, refused []line) error {
	if len(refused) == 0 {
		return nil
	}
	path := fmt.Sprintf("%s.refused-%d", g.JournalPath, time.Now().Unix())
	j, err := createJournal(path, h)
	if err != nil {
		return err
	}
	for _, l := range refused {
		if err := j.write(l); err != nil {
			return errors.Join(err, j.close(true))
		}
	}
	g.Logger.ErrorContext(ctx, "calls that cannot be recorded put aside", "path", path, "calls", len(refused))
	return j.close(true)
}

// unsettledCall is what is written of a call whose answer nobody counted.
func unsettledCall(c corp.Call) corp.Call {
	c.Outcome, c.Estimated, c.Cost = corp.CallUnsettled, true, min(c.Reserved, maxCost)
	c.Detail = "The server stopped before the answer was counted; the cost is the most that it can have been."
	return c
}

func (g *Gateway) closeAllowances(ctx context.Context, before *past, whole func(corp.WorkspaceID) bool) (closed int, err error) {
	open, err := g.DB.System("gateway recovery").OpenAllowances(ctx, before.Server)
	if err != nil {
		return 0, err
	}
	for _, ref := range open {
		var lost *corp.Call
		if !whole(ref.Workspace) {
			lost = &corp.Call{
				Outcome: corp.CallUnsettled, Estimated: true,
				Detail: "This server's journal does not tell all; the cost is the most that the calls it may be missing can have been.",
			}
		}
		err := g.DB.In(ref.Workspace).CloseAllowance(ctx, ref.AllowanceID, lost)
		switch {
		case err == nil:
			closed++
		case passing(ctx, err):
			return 0, err
		default: // package reconcile tries it again
			g.Logger.ErrorContext(ctx, "allowance of the last process not closed", "workspace_id", ref.Workspace, "allowance_id", ref.AllowanceID, "error", err)
		}
	}
	return closed, nil
}

// bootID names the present run of this machine's kernel; "" when that is not known.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
