package people_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func aMail(to string) people.Mail {
	return people.Mail{ID: corp.NewID[corp.MailID](), Kind: "verify", To: to, Subject: "Hello", Body: []byte("sealed")}
}

func TestAMailGoesWithTheChangeThatItTellsOf(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t).DB.Door()
	system, gone := people.New(db).System("test"), errors.New("rolled back")
	kept, lost := aMail("ada@example.com"), aMail("eve@example.com")
	write := func(m people.Mail, end error) error {
		return db.Auth().In(t.Context(), func(tx pgx.Tx) error {
			var b door.Batch
			people.QueueMail(&b, m)
			if err := door.Send(t.Context(), tx, &b); err != nil {
				return err
			}
			return end
		})
	}
	ok(t, write(kept, nil))
	if err := write(lost, gone); !errors.Is(err, gone) {
		t.Fatal(err)
	}
	list := must(system.Mails(t.Context(), corp.Page{}))(t)
	if len(list.Items) != 1 || list.Items[0].ID != kept.ID || list.Items[0].State != corp.MailWaiting || list.Items[0].Text != "" {
		t.Errorf("%+v", list.Items)
	}
	m, body, err := system.Mail(t.Context(), kept.ID)
	if err != nil || m.To != "ada@example.com" || string(body) != "sealed" {
		t.Errorf("%+v %q %v", m, body, err)
	}
	_, _, err = system.Mail(t.Context(), lost.ID)
	wantKind(t, err, corp.KindNotFound, "")
}

// Whoever writes mails reads none, and cannot say that one was sent.
func TestTheApplicationReadsNoMail(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t).Door()
	for _, statement := range []string{
		`SELECT body FROM mails`, `SELECT recipient FROM mails`, `SELECT count(*) FROM mails`, `UPDATE mails SET recipient = 'eve@example.com'`, `UPDATE mails SET sent_at = now()`, `DELETE FROM mails`,
		`INSERT INTO mails (id, kind, recipient, subject, body, sent_at) VALUES (gen_random_uuid(), 'x', 'a@b', 's', '', now())`,
		`INSERT INTO mails (id, kind, recipient, subject, body) VALUES (gen_random_uuid(), 'x', 'a@b', 's', '') RETURNING body`,
	} {
		err := db.Auth().In(t.Context(), func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), statement)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	for _, to := range []string{"", "ab", "ada@example.com\r\nBcc: eve@example.com", "ada@example.com\x7f"} {
		if err := people.New(db).PostMail(t.Context(), aMail(to)); err == nil {
			t.Errorf("%q is taken for an address", to)
		}
	}
}

func TestAClaimedMailIsNobodyElsesForAWhile(t *testing.T) {
	t.Parallel()
	s := people.New(pgtest.Database(t).DB.Door())
	system := s.System("test")
	for range 5 {
		ok(t, s.PostMail(t.Context(), aMail("ada@example.com")))
	}
	first := must(system.ClaimMails(t.Context(), 3, time.Hour))(t)
	rest := must(system.ClaimMails(t.Context(), 3, time.Hour))(t)
	if len(first) != 3 || len(rest) != 2 || first[0].Attempts != 1 || first[0].Age < 0 || first[0].Age > time.Hour {
		t.Fatalf("%d and %d, %+v", len(first), len(rest), first)
	}
	if again := must(system.ClaimMails(t.Context(), 3, time.Hour))(t); len(again) != 0 {
		t.Errorf("claimed twice: %+v", again)
	}
	ok(t, system.MailSent(t.Context(), first[0].ID))
	ok(t, system.MailFailed(t.Context(), first[1].ID, "busy", time.Millisecond))
	ok(t, system.MailFailed(t.Context(), first[2].ID, "unknown", 0))
	ok(t, system.MailFailed(t.Context(), first[0].ID, "too late to say", 0))
	states := map[corp.MailID]corp.MailState{}
	for _, m := range must(system.Mails(t.Context(), corp.Page{}))(t).Items {
		states[m.ID] = m.State
	}
	if states[first[0].ID] != corp.MailSent || states[first[2].ID] != corp.MailGivenUp || states[first[1].ID] != corp.MailWaiting {
		t.Errorf("%v", states)
	}
	if named := must(system.AnnounceMails(t.Context(), 10))(t); len(named) != 3 {
		t.Errorf("%d mails to be named, want those that wait", len(named))
	}
	if named := must(system.AnnounceMails(t.Context(), 10))(t); len(named) != 0 {
		t.Errorf("named twice: %+v", named)
	}
	if n := must(system.DropMails(t.Context(), time.Hour))(t); n != 0 {
		t.Errorf("%d new mails dropped", n)
	}
}
