package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/oidc"
	passwords "github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/mail"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/portal"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/seal"
)

// peopleSettings are the settings of who may sign in, and how.
type peopleSettings struct {
	SignUp      string
	Environment string
	Issuers     []string
	TrustEmail  []string

	issuers []oidc.Config
}

func (p *peopleSettings) flags(f *pflag.FlagSet) {
	f.StringVar(&p.SignUp, "sign-up", "invited", "who may make an account: invited, or open for everybody who reads their mail")
	f.StringVar(&p.Environment, "environment", "live", "live or test: what API keys begin with, so that one of a trial is worth nothing in earnest")
	f.StringSliceVar(&p.Issuers, "oidc", nil, "accounts elsewhere that people may sign in with: NAME=ISSUER; CORP_OIDC_NAME_CLIENT and CORP_OIDC_NAME_SECRET hold the client's id and secret")
	f.StringSliceVar(&p.TrustEmail, "oidc-trust-email", nil, "names of those whose verified addresses are believed: they join and make accounts of that address")
}

// check reads the texts, and the secrets from the environment.
func (p *peopleSettings) check(getenv func(string) string) error {
	if p.SignUp != "invited" && p.SignUp != "open" {
		return corp.Invalid("sign-up", fmt.Sprintf("%q does not say who may make an account.", p.SignUp), "Use invited or open.")
	}
	if p.Environment != "live" && p.Environment != "test" {
		return corp.Invalid("environment", fmt.Sprintf("%q is not an environment.", p.Environment), "Use live or test.")
	}
	p.issuers = nil
	for _, text := range p.Issuers {
		name, issuer, ok := strings.Cut(text, "=")
		if !ok || name == "" || issuer == "" {
			return corp.Invalid("oidc", fmt.Sprintf("%q does not name an issuer.", text), "Write it like google=https://accounts.google.com.")
		}
		variable := "CORP_OIDC_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		c := oidc.Config{Name: name, Issuer: issuer, ClientID: getenv(variable + "_CLIENT"), ClientSecret: getenv(variable + "_SECRET")}
		if c.ClientID == "" {
			return corp.Invalid("oidc", "The client's id of "+name+" is not set.", "Set "+variable+"_CLIENT, and "+variable+"_SECRET.")
		}
		p.issuers = append(p.issuers, c)
	}
	for _, name := range p.TrustEmail {
		known := false
		for i := range p.issuers {
			if p.issuers[i].Name == name {
				p.issuers[i].TrustEmail, known = true, true
			}
		}
		if !known {
			return corp.Invalid("oidc-trust-email", fmt.Sprintf("%q is none of the names of --oidc.", name), "Name it there first.")
		}
	}
	return nil
}

func (p *peopleSettings) keyPrefix() string {
	if p.Environment == "test" {
		return corp.KeyPrefixTest
	}
	return corp.KeyPrefixLive
}

// publicURL is what people's links begin with: on a laptop, this machine's own.
func (s *server) publicURL() string {
	if s.config.Edge.in.Public != nil {
		return s.config.Edge.in.Public.String()
	}
	return s.url()
}

// issuer is whom access tokens say they are from. It is not a server's own URL:
// servers that share a database take each other's tokens.
func (s *server) issuer() string {
	if s.config.Edge.in.Public != nil {
		return s.config.Edge.in.Public.String()
	}
	return "corp"
}

// buildIdentity builds how people sign in.
func (s *server) buildIdentity() (err error) {
	outbox := outbox{store: people.New(s.db.Door()), ring: s.ring}
	var elsewhere *oidc.Party
	if len(s.config.People.issuers) > 0 {
		client := outbound.NewClient(s.config.Edge.outbound, 1<<20)
		elsewhere, err = oidc.New(client, s.ring, s.publicURL()+portal.BackPath, time.Now, s.config.People.issuers)
		if err != nil {
			return fmt.Errorf("set up the issuers that people sign in with: %w", err)
		}
	}
	s.flows, err = identity.New(identity.Config{
		People: outbox.store, Ring: s.ring, Hasher: passwords.New(passwords.Default), Backoff: s.limits.counter, Limits: s.limits.counter,
		Mailer: outbox, Elsewhere: elsewhere, PublicURL: s.publicURL(), Issuer: s.issuer(), SignUp: s.config.People.SignUp == "open", Now: time.Now, Logger: s.log,
	})
	return err
}

// outbox is where letters are safe until they are sent.
type outbox struct {
	store *people.Store
	ring  *seal.Ring
}

// Send puts a letter into the outbox.
func (o outbox) Send(ctx context.Context, to, subject, text string) error {
	m, err := mail.Seal(o.ring, mail.Letter{Kind: "account", To: to, Subject: subject, Text: text})
	if err != nil {
		return err
	}
	return o.store.PostMail(ctx, m)
}

// sendInvitation is how invitations leave the house.
func (s *server) sendInvitation(ctx context.Context, l api.Letter) error {
	subject, text := s.flows.InvitationLetter(l.Workspace.Name, l.By, l.Invitation.Role, l.Secret, time.Until(l.Invitation.ExpiresAt))
	return s.flows.Mailer.Send(ctx, l.Invitation.Email, subject, text)
}
