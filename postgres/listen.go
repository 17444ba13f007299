package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
)

// The kinds of notices.
const (
	NoticeEvent  = "event"
	NoticeQueue  = "queue"
	NoticeResync = "resync" // anything may have been missed
)

const (
	channelEvent = "corp_event"
	channelQueue = "corp_queue"

	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
	quiet        = 30 * time.Second // with nothing heard for so long the connection is asked whether it lives
	answerWithin = 5 * time.Second
)

// Listen calls fn for every notice, one at a time, until ctx ends, and returns
// nil then. A connection that breaks is made again, with a resync notice first:
// what was said meanwhile is lost, as a notice is only a hint.
func (db *DB) Listen(ctx context.Context, fn func(Notice)) error {
	config, err := pgx.ParseConfig(db.listenURL)
	if err != nil {
		return corp.Invalid("listen_url", "The database's direct connection string cannot be read.", "Write it like postgres://corp_app:PASSWORD@HOST:5432/corp.")
	}
	for pause := firstBackoff; ; pause = min(2*pause, lastBackoff) {
		heard, err := listenOnce(ctx, config, fn)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of the context is the one good end
		}
		if heard {
			pause = firstBackoff
		}
		db.log.WarnContext(ctx, "listening to the database was interrupted", slog.Any("error", err), slog.Duration("again_in", pause))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func listenOnce(ctx context.Context, config *pgx.ConnConfig, fn func(Notice)) (heard bool, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `LISTEN `+channelEvent+`; LISTEN `+channelQueue); err != nil {
		return false, fmt.Errorf("listen: %w", err)
	}
	fn(Notice{Kind: NoticeResync})
	for {
		n, err := nextNotice(ctx, conn)
		if err != nil {
			return true, err
		}
		if n.Kind != "" {
			fn(n)
		}
	}
}

// nextNotice waits for a notice and, after a silence, asks whether anybody is
// still there: a connection whose other end vanished is silent for ever. The
// empty notice means that it is.
func nextNotice(ctx context.Context, conn *pgx.Conn) (Notice, error) {
	patience, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	raw, err := conn.WaitForNotification(patience)
	if err == nil {
		n, _ := parseNotice(raw.Channel, raw.Payload) // from somebody else's client: not for us
		return n, nil
	}
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return Notice{}, fmt.Errorf("wait: %w", err)
	}
	answer, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := conn.Ping(answer); err != nil {
		return Notice{}, fmt.Errorf("ask after a silence: %w", err)
	}
	return Notice{}, nil
}

func parseNotice(channel, payload string) (Notice, bool) {
	var n Notice
	switch channel {
	case channelQueue:
		n.Kind = NoticeQueue
	case channelEvent:
		workspace, seq, ok := strings.Cut(payload, ":")
		number, err := strconv.ParseInt(seq, 10, 64)
		if !ok || err != nil {
			return Notice{}, false
		}
		n.Kind, n.Seq, payload = NoticeEvent, number, workspace
	default:
		return Notice{}, false
	}
	if n.Workspace.Scan(payload) != nil || n.Workspace.IsZero() {
		return Notice{}, false
	}
	return n, true
}
