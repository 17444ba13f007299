package identity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/otp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func passwordChange(was, hash string) people.PasswordChange {
	return people.PasswordChange{Was: was, Hash: hash}
}

// stale makes the session's last proof an hour old.
func stale(t *testing.T, id corp.SessionID) {
	t.Helper()
	pgtest.New(t).Exec(t, `UPDATE sessions SET auth_at = now() - interval '1 hour' WHERE id = $1`, id)
}

// Attack case 20. Control: the new password signs in.
func TestAResetSetsThePasswordOnceAndEndsAllSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	ok(t, w.Reset(t.Context(), s.email, from(t)))
	_, first := w.letterTo(t, s.email)
	ok(t, w.Reset(t.Context(), s.email, from(t)))
	_, link := w.letterTo(t, s.email)
	want(t, only(w.ConfirmReset(t.Context(), link, "password1", false, from(t))), corp.KindInvalid, "")
	ok(t, only(w.ConfirmReset(t.Context(), link, another, false, from(t))))
	if w.alive(t, s.in.Session) {
		t.Error("a session outlasts the reset")
	}
	for _, spent := range []string{first, link} {
		want(t, only(w.ConfirmReset(t.Context(), spent, good, false, from(t))), corp.KindNotFound, "link")
	}
	_, err := w.login(t, s.email, good, "")
	want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
	_, err = w.login(t, s.email, another, "")
	ok(t, err)
	if l, _ := w.letterTo(t, s.email); !strings.Contains(l.text, "new password was set") {
		t.Errorf("the person was told: %s", l.text)
	}
	_, err = w.Refresh(t.Context(), s.in.Refresh)
	want(t, err, corp.KindUnauthenticated, "signed_out")
}

// What is worth stealing a session for asks for a fresh proof.
// Attack case 20. Control: with the right password it is done, and the session that asked goes on.
func TestAnOldSessionProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	other, err := w.login(t, s.email, good, "")
	ok(t, err)
	stale(t, s.in.Session)
	none, wrong, right := identity.Again{}, identity.Again{Password: another}, identity.Again{Password: good}
	for name, try := range map[string]func(a identity.Again) error{
		"password": func(a identity.Again) error {
			_, err := w.ChangePassword(t.Context(), s.who, a, another, false, from(t))
			return err
		},
		"device": func(a identity.Again) error {
			d, err := w.BeginDevice(t.Context(), from(t))
			ok(t, err)
			return w.AnswerDevice(t.Context(), s.who, identity.DeviceReply{Code: d.Code, Yes: true, Again: a}, from(t))
		},
		"email":  func(a identity.Again) error { return w.ChangeEmail(t.Context(), s.who, a, unique("new"), from(t)) },
		"factor": func(a identity.Again) error { _, err := w.BeginFactor(t.Context(), s.who, a, from(t)); return err },
		"drop":   func(a identity.Again) error { return w.DropFactor(t.Context(), s.who, a, from(t)) },
		"codes":  func(a identity.Again) error { _, err := w.NewRecoveryCodes(t.Context(), s.who, a, from(t)); return err },
		"delete": func(a identity.Again) error { _, err := w.Delete(t.Context(), s.who, a, from(t)); return err },
		"unlink": func(a identity.Again) error { return w.UnlinkElsewhere(t.Context(), s.who, a, "x", "y", from(t)) },
	} {
		if err := try(none); corp.KindOf(err) != corp.KindForbidden || !strings.Contains(err.Error(), "once more") {
			t.Errorf("%s without a proof: %v", name, err)
		}
		want(t, try(wrong), corp.KindForbidden, identity.CodeWrong)
		w.clock.Advance(2 * time.Hour)
	}
	key := corp.Identity{User: s.in.User, Actor: s.who.Actor}
	_, err = w.ChangePassword(t.Context(), key, right, another, false, from(t))
	want(t, err, corp.KindForbidden, "session_needed")
	next, err := w.ChangePassword(t.Context(), s.who, right, another, false, from(t))
	ok(t, err)
	if w.alive(t, other.Session) || !w.alive(t, next.Session) {
		t.Error("the sessions that go on are the wrong ones")
	}
	_, err = w.Delete(t.Context(), corp.Identity{User: next.User, Session: next.Session}, none, from(t))
	want(t, err, corp.KindForbidden, "step_up")
}

// Whoever has a copy of somebody's session does not go on with them: not by its cookie, its
// tokens or a device that it let in.
// Attack case 20. Control: who changed the password goes on, and in the same workspace.
func TestANewPasswordLeavesNoCopyOfASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, kind := range []corp.SessionKind{corp.SessionBrowser, corp.SessionCLI} {
		s := w.join(t, kind)
		ws := workspace(t, w)
		pgtest.New(t).Exec(t, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, 'viewer', 'test')`, ws, s.in.User)
		_, _, err := w.WorkIn(t.Context(), s.who, ws)
		ok(t, err)
		d, err := w.BeginDevice(t.Context(), from(t))
		ok(t, err)
		ok(t, w.AnswerDevice(t.Context(), s.who, identity.DeviceReply{Code: d.Code, Yes: true}, from(t)))

		in, err := w.ChangePassword(t.Context(), s.who, identity.Again{}, another, false, s.from)
		ok(t, err)
		_, err = w.people.ByCookie(t.Context(), w.ring.Hash(s.in.Cookie))
		want(t, err, corp.KindUnauthenticated, "")
		_, err = w.Refresh(t.Context(), s.in.Refresh)
		want(t, err, corp.KindUnauthenticated, "")
		_, err = w.people.BySession(t.Context(), s.in.Session)
		want(t, err, corp.KindUnauthenticated, "")
		_, err = w.TakeDevice(t.Context(), d.Secret, from(t))
		want(t, err, corp.KindConflict, identity.CodeOver)

		var who people.SignedIn
		if kind == corp.SessionBrowser {
			who, err = w.people.ByCookie(t.Context(), w.ring.Hash(in.Cookie))
		} else {
			who, err = w.people.BySession(t.Context(), in.Session)
		}
		if err != nil || who.User != s.in.User || who.Workspace != ws {
			t.Errorf("%s: %+v, %v", kind, who, err)
		}
		if kind == corp.SessionCLI {
			_, err = w.Refresh(t.Context(), in.Refresh)
			ok(t, err)
		}
	}
}

func TestAnAddressChangesWhenTheNewOneIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, eve, fresh := w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI), unique("new")
	ok(t, w.Reset(t.Context(), s.email, from(t)))
	_, reset := w.letterTo(t, s.email)
	ok(t, w.ChangeEmail(t.Context(), s.who, identity.Again{}, fresh, s.from))
	_, link := w.letterTo(t, fresh)
	want(t, w.ConfirmEmail(t.Context(), eve.who, link, from(t)), corp.KindNotFound, "link")
	ok(t, w.ConfirmEmail(t.Context(), s.who, link, s.from))
	want(t, w.ConfirmEmail(t.Context(), s.who, link, s.from), corp.KindNotFound, "link")
	want(t, only(w.ConfirmReset(t.Context(), reset, another, false, from(t))), corp.KindNotFound, "link")
	_, err := w.login(t, s.email, good, "")
	want(t, err, corp.KindUnauthenticated, "")
	_, err = w.login(t, fresh, good, "")
	ok(t, err)
	if l, _ := w.letterTo(t, s.email); !strings.Contains(l.text, "address of your account was changed") {
		t.Errorf("the old address was told: %s", l.text)
	}
	// Somebody registers the address while the link is under way.
	taken := unique("taken")
	ok(t, w.ChangeEmail(t.Context(), s.who, identity.Again{}, taken, s.from))
	_, link = w.letterTo(t, taken)
	ok(t, w.Register(t.Context(), taken, "Mallory", from(t)))
	_, verify := w.letterTo(t, taken)
	_, err = w.Verify(t.Context(), identity.Newcomer{Token: verify, Password: good}, from(t))
	ok(t, err)
	want(t, w.ConfirmEmail(t.Context(), s.who, link, s.from), corp.KindConflict, "address_taken")
}

func TestASecondFactorIsAskedForAndEachCodeCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	raw, codes := w.protect(t, s)
	_, err := w.login(t, s.email, good, "")
	want(t, err, corp.KindUnauthenticated, identity.CodeSecondFactor)
	_, err = w.login(t, s.email, another, "")
	want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
	_, err = w.login(t, s.email, good, otp.Code(raw, otp.Step(w.clock.Now()))) // it confirmed the factor
	want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
	w.clock.Advance(time.Minute)
	code := otp.Code(raw, otp.Step(w.clock.Now()))
	_, err = w.login(t, s.email, good, code)
	ok(t, err)
	_, err = w.login(t, s.email, good, code)
	want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
	_, err = w.login(t, s.email, good, strings.ToUpper(codes[3]))
	ok(t, err)
	_, err = w.login(t, s.email, good, codes[3])
	want(t, err, corp.KindUnauthenticated, identity.CodeWrong)
	me, err := w.Me(t.Context(), s.who)
	if err != nil || !me.User.SecondFactor || me.RecoveryCodes != otp.RecoveryCodes-1 {
		t.Errorf("%+v, %v", me, err)
	}
	more, err := w.NewRecoveryCodes(t.Context(), s.who, identity.Again{}, s.from)
	ok(t, err)
	_, err = w.login(t, s.email, good, codes[0])
	want(t, err, corp.KindUnauthenticated, "")
	_, err = w.login(t, s.email, good, more[0])
	ok(t, err)
	_, err = w.BeginFactor(t.Context(), s.who, identity.Again{}, s.from)
	want(t, err, corp.KindConflict, "")
	ok(t, w.DropFactor(t.Context(), s.who, identity.Again{}, s.from))
	_, err = w.login(t, s.email, good, "")
	ok(t, err)
	_, err = w.NewRecoveryCodes(t.Context(), s.who, identity.Again{}, s.from)
	want(t, err, corp.KindConflict, "")
}

func TestAFactorIsInForceOnlyOnceConfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	_, err := w.ConfirmFactor(t.Context(), s.who, "123456", s.from)
	want(t, err, corp.KindConflict, "")
	f, err := w.BeginFactor(t.Context(), s.who, identity.Again{}, s.from)
	if err != nil || !strings.HasPrefix(f.URL, "otpauth://totp/Generic%20Corp:") || !strings.Contains(f.URL, f.Secret) {
		t.Errorf("%+v, %v", f, err)
	}
	for range 9 {
		_, err = w.ConfirmFactor(t.Context(), s.who, "000000", s.from)
		want(t, err, corp.KindInvalid, "")
	}
	_, err = w.ConfirmFactor(t.Context(), s.who, "000000", s.from) // a stolen session does not try them all
	want(t, err, corp.KindLimit, identity.CodePause)
	_, err = w.login(t, s.email, good, "")
	ok(t, err)
}

func TestADeletionIsTakenBackBySigningIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionCLI)
	at, err := w.Delete(t.Context(), s.who, identity.Again{}, s.from)
	if err != nil || time.Until(at) < 6*24*time.Hour {
		t.Errorf("%s, %v", at, err)
	}
	if w.alive(t, s.in.Session) {
		t.Error("a session outlasts the deletion")
	}
	in, err := w.login(t, s.email, good, "")
	if err != nil || !in.TookBack {
		t.Errorf("%+v, %v", in, err)
	}
	if in, err = w.login(t, s.email, good, ""); err != nil || in.TookBack {
		t.Errorf("%+v, %v", in, err)
	}
	me, err := w.Me(t.Context(), s.who)
	if err != nil || me.User.DeleteAfter != nil {
		t.Errorf("%+v, %v", me.User, err)
	}
}

func TestTheLastOwnerNeitherLeavesNorIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, bob := w.join(t, corp.SessionCLI), w.join(t, corp.SessionCLI)
	made, err := pgtest.DB(t).System("test").FoundWorkspace(t.Context(), s.in.User, "t-"+strings.ToLower(s.email[4:20]), "Ours", "unlimited")
	ok(t, err)
	invite := corp.NewSecret(corp.KeyPrefixLink)
	_, err = w.people.In(made.ID).Invite(t.Context(), s.who.Actor, bob.email, corp.RoleAdmin, w.ring.Hash(invite), 1e12)
	ok(t, err)
	_, err = w.Accept(t.Context(), bob.who, invite)
	ok(t, err)
	want(t, w.Leave(t.Context(), s.who, made.ID), corp.KindConflict, "last_owner")
	_, err = w.Delete(t.Context(), s.who, identity.Again{}, s.from)
	want(t, err, corp.KindConflict, "last_owner")
	if !w.alive(t, s.in.Session) {
		t.Error("a refused deletion ended the session")
	}
	ok(t, w.HandOver(t.Context(), s.who, identity.Again{}, made.ID, bob.in.User, s.from))
	ok(t, w.Leave(t.Context(), s.who, made.ID))
	_, err = w.Delete(t.Context(), s.who, identity.Again{}, s.from)
	ok(t, err)
}
