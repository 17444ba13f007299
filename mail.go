package corp

import "time"

// MailState is how far a mail has come.
type MailState string

// The states of a mail.
const (
	MailWaiting MailState = "waiting"  // to be sent
	MailKept    MailState = "kept"     // for the operator to hand it on: there was no mail server
	MailSent    MailState = "sent"     // a mail server took it
	MailGivenUp MailState = "given_up" // no mail server took it for three days, or the recipient was refused
)

// Mail is what the installation has to say to somebody, as its operator sees it.
type Mail struct {
	ID        MailID     `json:"id"`
	Kind      string     `json:"kind"` // what it is for: verify, reset, invitation …
	To        string     `json:"to"`
	Subject   string     `json:"subject"`
	State     MailState  `json:"state"`
	Attempts  int        `json:"attempts"`             // to hand it to a mail server
	LastError string     `json:"last_error,omitempty"` // of the last attempt
	Text      string     `json:"text,omitempty"`       // shown one at a time, and gone once it is sent
	CreatedAt time.Time  `json:"created_at"`
	NextAt    *time.Time `json:"next_at,omitempty"` // of the next attempt
	SentAt    *time.Time `json:"sent_at,omitempty"`
}
