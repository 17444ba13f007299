package mail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/seal"
)

// Config is what a postman works with. Store, Ring and Logger are required.
type Config struct {
	Store  *people.Store
	Ring   *seal.Ring
	Server *Server // nil: mails stay for the operator, and the log names them
	Logger *slog.Logger
	Every  time.Duration // between two looks into the outbox; 0 means 2 s
}

// The times of the outbox.
const (
	lookEvery  = 2 * time.Second
	atOnce     = 8               // mails that are handed over side by side
	claimedFor = 5 * time.Minute // longer than handing over takes
	firstPause = 30 * time.Second
	lastPause  = time.Hour
	giveUp     = 3 * 24 * time.Hour
	kept       = 30 * 24 * time.Hour
	cleanEvery = time.Hour
	maxWhy     = 500 // bytes of a server's words that are kept
)

// Postman takes mails from the outbox to the mail server. Any number of servers
// may each have one.
type Postman struct {
	Config
	cleaned time.Time // only RunOnce touches it
}

// New makes a postman.
func New(c Config) *Postman {
	if c.Every == 0 {
		c.Every = lookEvery
	}
	return &Postman{Config: c}
}

// Run looks into the outbox until ctx ends. It returns nil: a round that fails is
// logged, the first of several, and done again.
func (p *Postman) Run(ctx context.Context) error {
	ticks := time.NewTicker(p.Every)
	defer ticks.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		err := p.RunOnce(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			p.Logger.ErrorContext(ctx, "the outbox could not be looked through and will be again", slog.Any("error", err))
		}
		failing = err != nil
	}
}

// RunOnce sends what is due, or names it in the log where there is no mail server.
func (p *Postman) RunOnce(ctx context.Context) error {
	system := p.Store.System("send mail")
	if time.Since(p.cleaned) > cleanEvery {
		if _, err := system.DropMails(ctx, kept); err != nil {
			return fmt.Errorf("drop old mails: %w", err)
		}
		p.cleaned = time.Now()
	}
	if p.Server == nil {
		return p.announce(ctx, system)
	}
	for {
		due, err := system.ClaimMails(ctx, atOnce, claimedFor)
		if err != nil || len(due) == 0 {
			return err
		}
		var all sync.WaitGroup
		errs := make([]error, len(due))
		for i, m := range due {
			all.Go(func() { errs[i] = p.deliver(ctx, system, m) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

func (p *Postman) announce(ctx context.Context, system people.System) error {
	fresh, err := system.AnnounceMails(ctx, 100)
	for _, m := range fresh {
		p.Logger.InfoContext(ctx, "mail kept, because there is no mail server", slog.String("mail_id", m.ID.String()),
			slog.String("to", m.To), slog.String("subject", m.Subject), slog.String("read_it_with", "corp mail show "+m.ID.String()))
	}
	return err
}

// deliver hands one mail over and notes how that went. The error is the database's.
func (p *Postman) deliver(ctx context.Context, system people.System, m people.DueMail) error {
	log := p.Logger.With(slog.String("mail_id", m.ID.String()), slog.String("kind", m.Kind))
	text, err := Open(p.Ring, m.ID, m.To, m.Subject, m.Body)
	if err != nil {
		err = fmt.Errorf("%w: %w", errRefused, err)
	} else {
		err = p.Server.send(ctx, m.ID, m.CreatedAt, m.To, m.Subject, text)
	}
	// Whether it was taken is written down even if we are told to stop meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err == nil {
		log.InfoContext(ctx, "mail sent", slog.Int("attempts", m.Attempts))
		return system.MailSent(ctx, m.ID)
	}
	again := pause(m.Attempts)
	if errors.Is(err, errRefused) || m.Age+again > giveUp {
		again = 0
	}
	log = log.With(slog.Int("attempts", m.Attempts), slog.Any("error", err))
	if again == 0 {
		log.ErrorContext(ctx, "mail given up")
	} else {
		log.WarnContext(ctx, "mail not sent, to be tried again")
	}
	return system.MailFailed(ctx, m.ID, why(err), again)
}

// pause is how long after an attempt the next one is.
func pause(attempts int) time.Duration {
	return min(firstPause<<min(attempts-1, 10), lastPause)
}

// why makes a server's words fit to be kept and shown.
func why(err error) string {
	said := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), ""))
	return strings.ToValidUTF8(said[:min(len(said), maxWhy)], "")
}

// Show returns a mail with its text, for the operator.
func Show(ctx context.Context, system people.System, ring *seal.Ring, id corp.MailID) (corp.Mail, error) {
	m, body, err := system.Mail(ctx, id)
	if err != nil || len(body) == 0 {
		return m, err
	}
	m.Text, err = Open(ring, m.ID, m.To, m.Subject, body)
	return m, err
}
