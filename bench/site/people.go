package site

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Password is that of every person here.
const Password = "tulip-anvil-marsh"

var link = regexp.MustCompile(`gc_link_[0-9A-Za-z]{36}`)

// Person makes an account as people do, by the mail that the operator hands on,
// and returns the client of a command line that is signed in with it. The server
// must let everybody sign up.
func (s *Site) Person(ctx context.Context, email string) (*client.Client, error) {
	stranger := client.New(s.URL, "", client.Options{})
	if err := stranger.SignUp(ctx, client.RegisterRequest{Email: email, Name: "Bench"}); err != nil {
		return nil, err
	}
	mails, err := s.Operator.Mails(ctx, corp.Page{Limit: 20})
	if err != nil {
		return nil, err
	}
	for _, m := range mails.Items {
		if m.To != email {
			continue
		}
		letter, err := s.Operator.Mail(ctx, m.ID)
		if err != nil {
			return nil, err
		}
		in, err := stranger.Verify(ctx, client.NewcomerRequest{Token: link.FindString(letter.Text), Password: Password, Session: corp.SessionCLI})
		if err != nil {
			return nil, err
		}
		return client.New(s.URL, in.Access, client.Options{}), nil
	}
	return nil, errors.New("no mail came for " + email)
}

// Super connects to the server's PostgreSQL as its superuser.
func (s *Site) Super(ctx context.Context) (*pgx.Conn, error) {
	at := url.URL{Scheme: "postgres", User: url.User("corp_super"), Path: "/corp", RawQuery: url.Values{"host": {filepath.Join(s.dir, "postgres", "run")}, "sslmode": {"disable"}}.Encode()}
	return pgx.Connect(ctx, at.String())
}
