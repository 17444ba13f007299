package people

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
)

// Mail is what somebody is to be told. Body is sealed; package mail makes one.
type Mail struct {
	ID      corp.MailID
	Kind    string
	To      string
	Subject string
	Body    []byte
}

const insertMail = `INSERT INTO mails (id, kind, recipient, subject, body) VALUES ($1, $2, $3, $4, $5)`

// QueueMail has a mail sent if the transaction that the batch is sent in commits.
func QueueMail(b *door.Batch, m Mail) {
	b.Queue(insertMail, m.ID, m.Kind, m.To, m.Subject, m.Body)
}

// PostMail has a mail sent that no change goes with.
func (s *Store) PostMail(ctx context.Context, m Mail) error {
	return s.door.Auth().In(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, insertMail, m.ID, m.Kind, m.To, m.Subject, m.Body)
		return err
	})
}

// DueMail is a mail that somebody is about to send.
type DueMail struct {
	ID        corp.MailID
	Kind      string
	To        string `db:"recipient"`
	Subject   string
	Body      []byte
	Attempts  int // this one included
	CreatedAt time.Time
	Age       time.Duration `db:"-"`
	AgeMS     int64         `db:"age_ms"`
}

// ClaimMails takes up to n mails whose time has come, and puts their next attempt
// off for so long: if whoever claims them dies, another one sends them then. No
// other caller gets them meanwhile.
func (s System) ClaimMails(ctx context.Context, n int, lease time.Duration) ([]DueMail, error) {
	due, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[DueMail], `
		UPDATE mails m SET attempts = m.attempts + 1, next_at = now() + $2::bigint * interval '1 millisecond'
		FROM (SELECT id FROM mails WHERE sent_at IS NULL AND given_up_at IS NULL AND next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
		WHERE m.id = due.id
		RETURNING m.id, m.kind, m.recipient, m.subject, m.body, m.attempts, m.created_at, (1000 * extract(epoch FROM now() - m.created_at))::bigint AS age_ms`, n, milliseconds(lease))
	for i := range due {
		due[i].Age = time.Duration(due[i].AgeMS) * time.Millisecond
	}
	return due, err
}

// MailSent notes that a mail server took it, and forgets the text.
func (s System) MailSent(ctx context.Context, id corp.MailID) error {
	_, err := door.ExecSystem(ctx, s.door, `UPDATE mails SET sent_at = now(), body = '', last_error = '' WHERE id = $1 AND sent_at IS NULL`, id)
	return err
}

// MailFailed notes why it was not taken, and when the next attempt is; without one
// it is given up.
func (s System) MailFailed(ctx context.Context, id corp.MailID, why string, again time.Duration) error {
	_, err := door.ExecSystem(ctx, s.door, `
		UPDATE mails SET last_error = $2, next_at = now() + $3::bigint * interval '1 millisecond', given_up_at = CASE WHEN $3 = 0 THEN now() END
		WHERE id = $1 AND sent_at IS NULL`, id, why, milliseconds(again))
	return err
}

// AnnounceMails returns up to n mails that no log has named yet. Each is returned once.
func (s System) AnnounceMails(ctx context.Context, n int) ([]corp.Mail, error) {
	return door.QuerySystem(ctx, s.door, scanMail, `
		WITH fresh AS (
			SELECT id FROM mails WHERE announced_at IS NULL AND sent_at IS NULL AND given_up_at IS NULL ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED
		), named AS (
			UPDATE mails m SET announced_at = now() FROM fresh WHERE m.id = fresh.id
			RETURNING m.id, m.kind, m.recipient, m.subject, m.attempts, m.last_error, m.created_at, m.next_at, m.sent_at, m.given_up_at, m.announced_at
		)
		SELECT `+mailColumns+` FROM named ORDER BY created_at, id`, n)
}

// DropMails removes mails that are older than that.
func (s System) DropMails(ctx context.Context, age time.Duration) (int64, error) {
	return door.ExecSystem(ctx, s.door, `DELETE FROM mails WHERE created_at < now() - $1::bigint * interval '1 millisecond'`, milliseconds(age))
}

const mailColumns = `id, kind, recipient AS "to", subject, attempts, last_error, '' AS text, created_at, sent_at,
	CASE WHEN sent_at IS NOT NULL THEN 'sent' WHEN given_up_at IS NOT NULL THEN 'given_up'
		WHEN announced_at IS NOT NULL AND attempts = 0 THEN 'kept' ELSE 'waiting' END AS state,
	CASE WHEN sent_at IS NULL AND given_up_at IS NULL THEN next_at END AS next_at`

var scanMail = pgx.RowToStructByName[corp.Mail]

// Mails lists the mails of the installation without their texts, the newest first.
func (s System) Mails(ctx context.Context, p corp.Page) (corp.List[corp.Mail], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.Mail]{}, err
	}
	found, err := door.QuerySystem(ctx, s.door, scanMail, `
		SELECT `+mailColumns+` FROM mails WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`, from.At, from.ID, limit+1)
	return door.Page(found, limit, func(m corp.Mail) door.Position { return door.At(m.CreatedAt, m.ID) }), err
}

// Mail returns a mail and its sealed text, which is empty once it is sent.
func (s System) Mail(ctx context.Context, id corp.MailID) (corp.Mail, []byte, error) {
	type kept struct {
		corp.Mail
		Body []byte
	}
	found, err := door.QuerySystem(ctx, s.door, pgx.RowToStructByName[kept], `SELECT `+mailColumns+`, body FROM mails WHERE id = $1`, id)
	if err == nil && len(found) == 0 {
		err = corp.NotFound("mail")
	}
	if err != nil {
		return corp.Mail{}, nil, err
	}
	return found[0].Mail, found[0].Body, nil
}
