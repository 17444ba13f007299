// Package mail tells people things: it writes the installation's letters, seals
// them for the outbox, and takes them from there to a mail server, at least once
// and with the same Message-ID.
//
// Contents are sealed from the moment they are written until they are sent, and
// never logged: what is in a letter lets its reader in. It sends nothing without
// TLS unless the operator says so, takes no header from anybody's input, and
// decides nothing about who is told what.
package mail

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/seal"
)

// The longest parts of a letter.
const (
	maxAddress = 254 // bytes
	maxSubject = 150 // characters
	maxText    = 32 << 10
)

// Letter is what somebody is told, in plain text.
type Letter struct {
	Kind    string // for the operator: what it is for
	To      string // an address and nothing else
	Subject string
	Text    string
}

// check refuses what could become another header or another recipient.
func (l Letter) check() error {
	switch {
	case CheckAddress(l.To) != nil:
		return CheckAddress(l.To)
	case l.Kind == "" || l.Subject == "" || l.Text == "":
		return errors.New("write a letter: a part of it is missing")
	case len(l.Text) > maxText:
		return errors.New("write a letter: it is too long")
	case strings.ContainsFunc(l.Kind+l.Subject, unicode.IsControl):
		return errors.New("write a letter: its subject holds a control character")
	}
	return nil
}

// CheckAddress refuses what is not one plain mail address. The error names email.
func CheckAddress(address string) error {
	parsed, err := mail.ParseAddress(address)
	bad := err != nil || parsed.Address != address || len(address) > maxAddress || strings.ContainsFunc(address, func(r rune) bool {
		return r <= ' ' || r > unicode.MaxASCII || r == 0x7f || strings.ContainsRune(`"(),:;<>[\]`, r)
	})
	if bad {
		return corp.Invalid("email", "That is not a mail address.", "Write it like ada@example.com.")
	}
	return nil
}

// Seal makes a letter ready for the outbox.
func Seal(ring *seal.Ring, l Letter) (people.Mail, error) {
	l.Subject = line(l.Subject, maxSubject)
	if err := l.check(); err != nil {
		return people.Mail{}, err
	}
	m := people.Mail{ID: corp.NewID[corp.MailID](), Kind: l.Kind, To: l.To, Subject: l.Subject}
	m.Body = ring.Seal([]byte(l.Text), place(m.ID, m.To, m.Subject)...)
	return m, nil
}

// Open returns the text of a letter from the outbox. One whose recipient or
// subject was changed since does not open.
func Open(ring *seal.Ring, id corp.MailID, to, subject string, body []byte) (string, error) {
	text, err := ring.Open(body, place(id, to, subject)...)
	if err != nil {
		return "", fmt.Errorf("open mail: %w", err)
	}
	return string(text), nil
}

func place(id corp.MailID, to, subject string) []string {
	return []string{"mail", id.String(), to, subject}
}

// line makes one line of text that people chose: without what breaks lines or
// turns writing around, and not too long.
func line(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			return ' '
		case unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		s = strings.TrimSpace(string(runes[:most-1])) + "…"
	}
	return s
}
