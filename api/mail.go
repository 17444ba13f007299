package api

import (
	"context"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/mail"
)

// MailInput names a mail in the path.
type MailInput struct {
	Mail corp.MailID `path:"mail"`
}

// mails lists what was written to people, without what it says.
func (a *API) mails(ctx context.Context, _ corp.Identity, in *PageInput) (*body[corp.List[corp.Mail]], error) {
	return answerList(a.outbox("operator lists mails").Mails(ctx, in.page()))
}

// mail shows one with its text, which lets its reader in: that is audited.
func (a *API) mail(ctx context.Context, _ corp.Identity, in *MailInput) (*body[corp.Mail], error) {
	return answer(mail.Show(ctx, a.outbox("operator reads a mail"), a.Ring, in.Mail))
}
