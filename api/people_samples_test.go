package api

import (
	"encoding/base32"
	"maps"
	"net/url"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/otp"
	"github.com/genericcorp/corp/postgres/people"
)

func init() { maps.Copy(samples, peopleSamples) }

// peopleSamples are those of signing in, and of what somebody does about themselves.
//
//nolint:thelper // a table of makers
var peopleSamples = map[string]func(t *testing.T, o *office, key string) []sample{
	"signUp": func(*testing.T, *office, string) []sample {
		return one(sample{body: registerRequest{unique("ada") + "@example.com", "Ada"}})
	},
	"verifyEmail": func(t *testing.T, o *office, _ string) []sample {
		link := o.link(t, people.Link{Purpose: people.PurposeVerify, Email: unique("ada") + "@example.com", Name: "Ada"})
		return one(sample{body: newcomerRequest{Token: link, Password: goodPassword}})
	},
	"acceptInvitationAsNew": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{body: newcomerRequest{Token: o.invited(t, o.ws, unique("bob")+"@example.com"), Name: "Bob", Password: goodPassword, Session: corp.SessionBrowser}})
	},
	"signIn": func(t *testing.T, o *office, _ string) []sample {
		p := o.person(t, corp.RoleViewer)
		return []sample{{body: loginRequest{Email: p.email, Password: goodPassword}}, {body: loginRequest{Email: p.email, Password: goodPassword, Session: corp.SessionBrowser}}}
	},
	"refreshSession": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{body: refreshRequest{o.person(t, corp.RoleViewer).refresh}})
	},
	"resetPassword": func(*testing.T, *office, string) []sample {
		return one(sample{body: emailRequest{unique("ada") + "@example.com"}})
	},
	"confirmReset": func(t *testing.T, o *office, _ string) []sample {
		p := o.person(t, corp.RoleViewer)
		return one(sample{body: passwordReset{Token: o.link(t, people.Link{Purpose: people.PurposeReset, Email: p.email, Person: p.id}), Password: otherPassword}})
	},
	"beginDevice": plain,
	"takeDevice": func(t *testing.T, o *office, _ string) []sample {
		d := must[identity.NewDevice](t)(o.api.Identity.BeginDevice(t.Context(), identity.Caller{}))
		if err := o.api.Identity.AnswerDevice(t.Context(), o.person(t, corp.RoleViewer).who(), identity.DeviceReply{Code: d.Code, WorksIn: o.ws, Yes: true}, identity.Caller{}); err != nil {
			t.Fatal(err)
		}
		return one(sample{body: deviceRequest{d.Secret}})
	},
	"listIssuers": plain,
	"signInElsewhere": func(*testing.T, *office, string) []sample {
		return one(sample{path: map[string]string{"issuer": "ours"}})
	},
	"finishElsewhere": func(t *testing.T, o *office, _ string) []sample {
		query, cookie := o.elsewhere(t)
		return one(sample{path: map[string]string{"issuer": "ours"}, query: query, header: map[string]string{"Cookie": cookie}})
	},
	"signOut": plain,
	"stepUp": func(*testing.T, *office, string) []sample {
		return one(sample{body: againRequest{Password: goodPassword}})
	},
	"getSigningKeys": plain,

	"getMe": plain,
	"renameMe": func(*testing.T, *office, string) []sample {
		return one(sample{body: map[string]string{"name": "Ada L."}})
	},
	"deleteMe": plain,
	"changePassword": func(*testing.T, *office, string) []sample {
		return one(sample{body: passwordRequest{New: otherPassword}})
	},
	"changeEmail": func(*testing.T, *office, string) []sample {
		return one(sample{body: newEmailRequest{Email: unique("new") + "@example.com"}})
	},
	"confirmEmail": func(t *testing.T, o *office, key string) []sample {
		return one(sample{body: tokenRequest{o.link(t, people.Link{Purpose: people.PurposeChange, Email: unique("new") + "@example.com", Person: o.personOf(t, key).id})}})
	},
	"listSessions": plain,
	"endSession": func(t *testing.T, o *office, key string) []sample {
		id, _, _ := o.session(t, o.personOf(t, key).id)
		return one(sample{path: map[string]string{"session": id.String()}})
	},
	"beginFactor": func(*testing.T, *office, string) []sample { return one(sample{body: againRequest{}}) },
	"confirmFactor": func(t *testing.T, o *office, key string) []sample {
		return one(sample{body: codeRequest{o.code(t, o.personOf(t, key))}})
	},
	"dropFactor": plain,
	"newRecoveryCodes": func(t *testing.T, o *office, key string) []sample {
		p := o.personOf(t, key)
		must[[]string](t)(o.api.Identity.ConfirmFactor(t.Context(), p.who(), o.code(t, p), identity.Caller{}))
		return one(sample{body: againRequest{}})
	},
	"workIn": func(t *testing.T, o *office, key string) []sample {
		return one(sample{body: workInRequest{o.joined(t, o.personOf(t, key), corp.RoleViewer)}})
	},
	"foundWorkspace": func(*testing.T, *office, string) []sample {
		return one(sample{body: myWorkspaceRequest{Slug: unique("ws")}})
	},
	"leaveWorkspace": func(t *testing.T, o *office, key string) []sample {
		return one(sample{path: map[string]string{"workspace": o.joined(t, o.personOf(t, key), corp.RoleViewer).String()}})
	},
	"handOverWorkspace": func(t *testing.T, o *office, key string) []sample {
		ws := o.joined(t, o.personOf(t, key), corp.RoleOwner)
		heir := o.person(t, corp.RoleViewer)
		o.env.Exec(t, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, 'viewer', 'test')`, ws, heir.id)
		return one(sample{path: map[string]string{"workspace": ws.String()}, body: handOverRequest{heir.id}})
	},
	"deleteWorkspace": func(t *testing.T, o *office, key string) []sample {
		return one(sample{path: map[string]string{"workspace": o.joined(t, o.personOf(t, key), corp.RoleOwner).String()}})
	},
	"restoreWorkspace": func(t *testing.T, o *office, key string) []sample {
		owner := o.personOf(t, key)
		ws := o.joined(t, owner, corp.RoleOwner)
		must[people.Deletion](t)(o.api.People.In(ws).DeleteWorkspace(t.Context(), "test", owner.id, time.Hour))
		return one(sample{path: map[string]string{"workspace": ws.String()}})
	},
	"acceptInvitation": func(t *testing.T, o *office, key string) []sample {
		return one(sample{body: tokenRequest{o.invited(t, o.env.Workspace(t), o.personOf(t, key).email)}})
	},
	"showDevice": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{body: codeRequest{must[identity.NewDevice](t)(o.api.Identity.BeginDevice(t.Context(), identity.Caller{})).Code}})
	},
	"answerDevice": func(t *testing.T, o *office, key string) []sample {
		d := must[identity.NewDevice](t)(o.api.Identity.BeginDevice(t.Context(), identity.Caller{}))
		return one(sample{body: deviceAnswer{Code: d.Code, WorkspaceID: o.joined(t, o.personOf(t, key), corp.RoleViewer)}})
	},
	"linkElsewhere": func(*testing.T, *office, string) []sample {
		return one(sample{path: map[string]string{"issuer": "ours"}})
	},
	"unlinkElsewhere": func(t *testing.T, o *office, key string) []sample {
		subject := unique("subject")
		if err := o.api.People.Of(o.personOf(t, key).id).LinkIdentity(t.Context(), corp.SessionID{}, "https://issuer.example", subject, ""); err != nil {
			t.Fatal(err)
		}
		return one(sample{query: url.Values{"issuer": {"https://issuer.example"}, "subject": {subject}}})
	},
}

// code is that of a second factor which the person has begun.
func (o *office) code(t *testing.T, p signedUp) string {
	t.Helper()
	f := must[identity.NewFactor](t)(o.api.Identity.BeginFactor(t.Context(), p.who(), identity.Again{}, identity.Caller{}))
	secret := must[[]byte](t)(base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(f.Secret))
	return otp.Code(secret, otp.Step(time.Now()))
}
