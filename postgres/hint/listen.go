package hint

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

const (
	channel    = "corp_hint"
	maxPayload = 7_900 // bytes of one notification; the database refuses 8,000

	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
	quiet        = 30 * time.Second // with nothing heard for so long the connection is asked whether it lives
	answerWithin = 5 * time.Second
)

// Listen calls fn for every notice until ctx ends, and returns nil then: for what
// this process said as soon as it is committed, for the others' words when they
// arrive. fn must not block; it is called from many goroutines. A connection that
// breaks is made again, with a resync notice first: what was said meanwhile is
// lost, as a notice is only a hint.
func (h *Speaker) Listen(ctx context.Context, fn func(Notice)) error {
	config, err := pgx.ParseConfig(h.direct)
	if err != nil {
		return corp.Invalid("listen_url", "The database's direct connection string cannot be read.", "Write it like postgres://corp_app:PASSWORD@HOST:5432/corp.")
	}
	defer h.hear(fn)()
	for pause := firstBackoff; ; pause = min(2*pause, lastBackoff) {
		heard, err := listenOnce(ctx, config, h.origin, fn)
		if ctx.Err() != nil {
			return nil
		}
		if heard {
			pause = firstBackoff
		}
		h.log.WarnContext(ctx, "listening to the database was interrupted", slog.Any("error", err), slog.Duration("again_in", pause))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func listenOnce(ctx context.Context, config *pgx.ConnConfig, origin string, fn func(Notice)) (heard bool, err error) {
	conn, err := beginListening(ctx, config)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	fn(Notice{Kind: Resync})
	for {
		payload, err := nextPayload(ctx, conn)
		if err != nil {
			return true, err
		}
		if from, said := readNotices(payload); from != origin {
			for _, n := range said {
				fn(n)
			}
		}
	}
}

// beginListening connects and listens. Either may meet silence instead of an
// answer, and silence has no end of its own.
func beginListening(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("listen: %w", err)
	}
	return conn, nil
}

// nextPayload waits for a notification and, after a silence, asks whether anybody
// is still there: a connection whose other end vanished is silent for ever. The
// empty payload means that it is.
func nextPayload(ctx context.Context, conn *pgx.Conn) (string, error) {
	patience, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	raw, err := conn.WaitForNotification(patience)
	if err == nil {
		return raw.Payload, nil
	}
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("wait: %w", err)
	}
	answer, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := conn.Ping(answer); err != nil {
		return "", fmt.Errorf("ask after a silence: %w", err)
	}
	return "", nil
}

// The letters of the kinds on the wire.
var letters = map[string]string{Event: "e", Queue: "q", Limits: "l", Access: "a", Resync: "r"}

// writeNotices makes payloads: who speaks, and after a blank each notice as its
// letter, its workspace and, after a colon, the number, the run or the person.
func writeNotices(origin string, said []Notice) (payloads []string) {
	var b strings.Builder
	for _, n := range said {
		word := " " + letters[n.Kind]
		if !n.Workspace.IsZero() {
			word += n.Workspace.UUID()
		}
		switch {
		case n.Kind == Event:
			word += ":" + strconv.FormatInt(n.Seq, 10)
		case !n.Run.IsZero():
			word += ":" + n.Run.UUID()
		case !n.User.IsZero():
			word += ":" + n.User.UUID()
		}
		if b.Len()+len(word) > maxPayload {
			payloads = append(payloads, b.String())
			b.Reset()
		}
		if b.Len() == 0 {
			b.WriteString(origin)
		}
		b.WriteString(word)
	}
	return append(payloads, b.String())
}

// readNotices reads a payload. What is not of our making is left out.
func readNotices(payload string) (origin string, said []Notice) {
	origin, rest, _ := strings.Cut(payload, " ")
	for word := range strings.FieldsSeq(rest) {
		if n, ok := readNotice(word[:1], word[1:]); ok {
			said = append(said, n)
		}
	}
	return origin, said
}

func readNotice(letter, text string) (n Notice, ok bool) {
	workspace, about, _ := strings.Cut(text, ":")
	for kind, l := range letters {
		if l == letter {
			n.Kind = kind
		}
	}
	if n.Kind == Resync {
		return n, text == ""
	}
	ofPerson := n.Kind == Access && about != "" // who may be in no workspace
	if n.Kind == "" || (!ofPerson || workspace != "") && (n.Workspace.Scan(workspace) != nil || n.Workspace.IsZero()) {
		return n, false
	}
	var err error
	switch {
	case n.Kind == Event:
		n.Seq, err = strconv.ParseInt(about, 10, 64)
	case n.Kind == Queue && about != "":
		err = n.Run.Scan(about)
	case ofPerson:
		err = n.User.Scan(about)
	}
	return n, err == nil
}
