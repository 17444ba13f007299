package mail

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/stage"
)

// post is a postman with an outbox of its own.
type post struct {
	*Postman
	env *pgtest.Env
	log *stage.Log
}

func newPost(t *testing.T, server *Server) *post {
	t.Helper()
	p := &post{env: pgtest.Database(t), log: &stage.Log{}}
	p.Postman = p.another(t, server)
	return p
}

// another is a second postman on the same outbox.
func (p *post) another(t *testing.T, server *Server) *Postman {
	t.Helper()
	return New(Config{Store: people.New(p.env.DB.Door()), Ring: testRing(t), Server: server, Logger: slog.New(slog.NewTextHandler(p.log, nil))})
}

const secretLink = "https://corp.example.com/verify#gc_link_verysecret"

func (p *post) write(t *testing.T, to string) corp.MailID {
	t.Helper()
	m, err := Seal(p.Ring, someLetter(to, secretLink))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Store.PostMail(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func (p *post) round(t *testing.T) {
	t.Helper()
	if err := p.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *post) show(t *testing.T, id corp.MailID) corp.Mail {
	t.Helper()
	m, err := Show(t.Context(), p.Store.System("test"), p.Ring, id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// later lets a mail's next attempt come.
func (p *post) later(t *testing.T) {
	t.Helper()
	p.env.Exec(t, `UPDATE mails SET next_at = now()`)
}

func TestAMailIsSentOnceAndItsTextForgotten(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := newPost(t, o.to(t, "smtp://", ""))
	id := p.write(t, "ada@example.org")
	if m := p.show(t, id); m.State != corp.MailWaiting || !strings.Contains(m.Text, secretLink) {
		t.Errorf("before: %+v", m)
	}
	p.round(t)
	p.later(t)
	p.round(t)
	m := p.show(t, id)
	if len(o.mails()) != 1 || m.State != corp.MailSent || m.SentAt == nil || m.Attempts != 1 || m.Text != "" {
		t.Errorf("%d mails, %+v", len(o.mails()), m)
	}
	if text := p.log.String(); strings.Contains(text, "gc_link_") || !strings.Contains(text, id.String()) {
		t.Errorf("the log: %s", text)
	}
}

func TestWithoutAServerTheLogNamesAMailAndNeverItsLink(t *testing.T) {
	t.Parallel()
	p := newPost(t, nil)
	id := p.write(t, "ada@example.org")
	p.round(t)
	p.round(t)
	text := p.log.String()
	if strings.Count(text, id.String()) != 2 || !strings.Contains(text, "ada@example.org") || !strings.Contains(text, "corp mail show "+id.String()) || !strings.Contains(text, "Confirm your address") || strings.Contains(text, "gc_link_") || strings.Contains(text, "https://") {
		t.Errorf("the log: %s", text)
	}
	if m := p.show(t, id); m.State != corp.MailKept || !strings.Contains(m.Text, secretLink) {
		t.Errorf("%+v", m)
	}
	o := newOffice(t)
	if err := p.another(t, o.to(t, "smtp://", "")).RunOnce(t.Context()); err != nil || len(o.mails()) != 1 {
		t.Errorf("once there is a server: %v, %d mails", err, len(o.mails()))
	}
}

func TestARefusedMailIsTriedForThreeDays(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.refusing(func(string) error { return errBusy })
	p := newPost(t, o.to(t, "smtp://", ""))
	id := p.write(t, "ada@example.org")
	p.round(t)
	m := p.show(t, id)
	if m.State != corp.MailWaiting || m.Attempts != 1 || m.NextAt == nil || !strings.Contains(m.LastError, "try later") {
		t.Errorf("after the first attempt: %+v", m)
	}
	p.round(t) // too early
	if m := p.show(t, id); m.Attempts != 1 {
		t.Errorf("tried again at once: %+v", m)
	}
	p.later(t)
	o.refusing(nil)
	p.round(t)
	if m := p.show(t, id); m.State != corp.MailSent || m.Attempts != 2 {
		t.Errorf("when it is taken: %+v", m)
	}
	o.refusing(func(string) error { return errBusy })
	old := p.write(t, "ada@example.org")
	p.env.Exec(t, `UPDATE mails SET created_at = now() - interval '3 days' WHERE sent_at IS NULL`)
	p.round(t)
	if m := p.show(t, old); m.State != corp.MailGivenUp || m.Text == "" {
		t.Errorf("after three days: %+v", m)
	}
	o.refusing(func(command string) error {
		if command == "RCPT" {
			return errUnknown
		}
		return nil
	})
	wrong := p.write(t, "nobody@example.org")
	p.round(t)
	if m := p.show(t, wrong); m.State != corp.MailGivenUp || m.Attempts != 1 || strings.Contains(m.LastError, "\x1b") {
		t.Errorf("to nobody: %+v", m)
	}
	var total time.Duration
	for n := 1; n < 100; n++ {
		if d := pause(n); d < firstPause || d > lastPause || d < pause(max(n-1, 1)) {
			t.Fatalf("pause %d is %s", n, d)
		}
		total += pause(n)
	}
	if total < giveUp {
		t.Errorf("100 attempts take %s", total)
	}
}

// Whoever dies with a mail in hand leaves it to the next one, as the same mail.
func TestAMailOutlivesTheProcessThatWasSendingIt(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := newPost(t, o.to(t, "smtp://", ""))
	id := p.write(t, "ada@example.org")
	claimed, err := p.Store.System("test").ClaimMails(t.Context(), 8, claimedFor)
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	m := claimed[0]
	if err := p.Server.send(t.Context(), m.ID, m.CreatedAt, m.To, m.Subject, "t"); err != nil { // and dies before it is noted
		t.Fatal(err)
	}
	p.round(t)
	if n := len(o.mails()); n != 1 {
		t.Fatalf("%d mails while it may still be at work", n)
	}
	p.later(t)
	p.round(t)
	got := o.mails()
	if len(got) != 2 || p.show(t, id).State != corp.MailSent {
		t.Fatalf("%d mails, %+v", len(got), p.show(t, id))
	}
	if a, b := letter(t, got[0]).Header.Get("Message-Id"), letter(t, got[1]).Header.Get("Message-Id"); a != b || a == "" {
		t.Errorf("Message-IDs %q and %q", a, b)
	}
}

func TestSeveralServersSendEachMailOnce(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := newPost(t, o.to(t, "smtp://", ""))
	const n = 60
	for range n {
		p.write(t, "ada@example.org")
	}
	var all sync.WaitGroup
	for range 4 {
		one := p.another(t, p.Server)
		all.Go(func() {
			if err := one.RunOnce(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, e := range o.mails() {
		seen[letter(t, e).Header.Get("Message-Id")] = true
	}
	if len(seen) != n || len(o.mails()) != n {
		t.Errorf("%d mails, %d of them different, want %d", len(o.mails()), len(seen), n)
	}
}

// Attack case 41. Control: an untouched row is sent, in TestAMailIsSentOnceAndItsTextForgotten.
func TestARowThatWasTamperedWithIsNotSent(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := newPost(t, o.to(t, "smtp://", ""))
	id := p.write(t, "ada@example.org")
	p.env.Exec(t, `UPDATE mails SET recipient = 'eve@example.net'`)
	p.round(t)
	if m, _, err := p.Store.System("test").Mail(t.Context(), id); err != nil || m.State != corp.MailGivenUp || len(o.mails()) != 0 {
		t.Errorf("%+v, %v, %d mails", m, err, len(o.mails()))
	}
	if _, err := Show(t.Context(), p.Store.System("test"), p.Ring, id); err == nil {
		t.Error("it is shown")
	}
}

// What happens in the loop: it looks again and again, and stops when it is told to.
func TestTheLoopSendsWhatComes(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	p := newPost(t, o.to(t, "smtp://", ""))
	p.Every = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for i := range 3 {
		p.write(t, "ada@example.org")
		pgtest.Eventually(t, 20*time.Second, "the mail", func(context.Context) bool { return len(o.mails()) == i+1 })
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.env.Exec(t, `UPDATE mails SET created_at = now() - interval '31 days'`)
	p.cleaned = time.Time{}
	p.round(t)
	list, err := p.Store.System("test").Mails(t.Context(), corp.Page{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("old mails: %+v, %v", list, err)
	}
}
