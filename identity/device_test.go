package identity_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Attack case 7. Control: the device that asked is let in once.
func TestADeviceIsLetInByAPersonOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, theirs := w.join(t, corp.SessionBrowser), from(t)
	d, err := w.BeginDevice(t.Context(), theirs)
	if err != nil || len(d.Code) != 9 || strings.ContainsAny(d.Code, "AEIOUY") || d.Page != "https://corp.example.com/device" {
		t.Fatalf("%+v, %v", d, err)
	}
	_, err = w.TakeDevice(t.Context(), d.Secret, theirs)
	want(t, err, corp.KindConflict, identity.CodePending)
	at, err := w.Device(t.Context(), s.who, strings.ToLower(d.Code))
	if err != nil || at.Address != theirs.Address.String() {
		t.Errorf("%+v, %v", at, err)
	}
	ok(t, w.AnswerDevice(t.Context(), s.who, identity.DeviceReply{Code: " " + strings.ReplaceAll(d.Code, "-", ""), Yes: true}, from(t)))
	want(t, w.AnswerDevice(t.Context(), s.who, identity.DeviceReply{Code: d.Code, Yes: true}, from(t)), corp.KindNotFound, "")
	in, err := w.TakeDevice(t.Context(), d.Secret, theirs)
	ok(t, err)
	if in.User != s.in.User || in.Access == "" || in.Refresh == "" || in.Cookie != "" {
		t.Errorf("%+v", in)
	}
	_, err = w.TakeDevice(t.Context(), d.Secret, theirs)
	want(t, err, corp.KindConflict, identity.CodeOver)
}

func TestADeviceIsTurnedAwayOrRunsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionBrowser)
	d, err := w.BeginDevice(t.Context(), from(t))
	ok(t, err)
	want(t, w.AnswerDevice(t.Context(), s.who, identity.DeviceReply{Code: d.Code, WorksIn: workspace(t, w), Yes: true}, from(t)), corp.KindNotFound, "")
	ok(t, w.AnswerDevice(t.Context(), s.who, identity.DeviceReply{Code: d.Code}, from(t)))
	_, err = w.TakeDevice(t.Context(), d.Secret, from(t))
	want(t, err, corp.KindConflict, identity.CodeDenied)

	late, err := w.BeginDevice(t.Context(), from(t))
	ok(t, err)
	pgtest.New(t).Exec(t, `UPDATE device_codes SET expires_at = now() WHERE hash = $1`, w.ring.Hash(late.Secret))
	want(t, w.AnswerDevice(t.Context(), s.who, identity.DeviceReply{Code: late.Code, Yes: true}, from(t)), corp.KindNotFound, "")
	_, err = w.TakeDevice(t.Context(), late.Secret, from(t))
	want(t, err, corp.KindConflict, identity.CodeOver)
	for _, bad := range []string{"", d.Code, corp.NewSecret(corp.KeyPrefixDevice), corp.NewSecret(corp.KeyPrefixRefresh)} {
		_, err := w.TakeDevice(t.Context(), bad, from(t))
		want(t, err, corp.KindConflict, identity.CodeOver)
	}
}

func TestWhoAsksTooOftenIsSlowedAndWhoGuessesIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.join(t, corp.SessionBrowser)
	d, err := w.BeginDevice(t.Context(), from(t))
	ok(t, err)
	for range 3 {
		_, err = w.TakeDevice(t.Context(), d.Secret, from(t))
		want(t, err, corp.KindConflict, identity.CodePending)
	}
	_, err = w.TakeDevice(t.Context(), d.Secret, from(t))
	want(t, err, corp.KindConflict, identity.CodeSlow)
	w.clock.Advance(5 * time.Second)
	_, err = w.TakeDevice(t.Context(), d.Secret, from(t))
	want(t, err, corp.KindConflict, identity.CodePending)
	for range 20 {
		_, err := w.Device(t.Context(), s.who, "BBBB-BBBB")
		want(t, err, corp.KindNotFound, "")
	}
	_, err = w.Device(t.Context(), s.who, d.Code)
	want(t, err, corp.KindLimit, identity.CodePause)
	want(t, w.AnswerDevice(t.Context(), corp.Identity{User: s.in.User}, identity.DeviceReply{Code: d.Code, Yes: true}, from(t)), corp.KindForbidden, "session_needed")
}

// Whoever holds a stolen session must not have it outlive its end, nor its last proof,
// by letting in a command line of their own.
func TestADeviceIsNoMoreThanTheSessionThatLetItIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	letIn := func(by someone) string {
		t.Helper()
		d, err := w.BeginDevice(t.Context(), from(t))
		ok(t, err)
		ok(t, w.AnswerDevice(t.Context(), by.who, identity.DeviceReply{Code: d.Code, Yes: true}, from(t)))
		return d.Secret
	}
	for name, end := range map[string]func(someone) error{
		"signed out": func(s someone) error { return w.SignOut(t.Context(), s.who) },
		"a new password": func(s someone) error {
			ok(t, w.Reset(t.Context(), s.email, from(t)))
			_, link := w.letterTo(t, s.email)
			return only(w.ConfirmReset(t.Context(), link, another, false, s.from))
		},
		"account deleted": func(s someone) error { _, err := w.Delete(t.Context(), s.who, identity.Again{}, s.from); return err },
		"disabled":        func(s someone) error { return w.people.System("test").Disable(t.Context(), s.in.User, true) },
	} {
		s := w.join(t, corp.SessionBrowser)
		secret := letIn(s)
		ok(t, end(s))
		_, err := w.TakeDevice(t.Context(), secret, from(t))
		if e, is := errors.AsType[*corp.Error](err); !is || e.Code != identity.CodeOver {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := w.join(t, corp.SessionBrowser)
	secret := letIn(s)
	stale(t, s.in.Session)
	in, err := w.TakeDevice(t.Context(), secret, from(t))
	ok(t, err)
	who := corp.Identity{User: in.User, Session: in.Session}
	_, err = w.Delete(t.Context(), who, identity.Again{}, s.from)
	want(t, err, corp.KindForbidden, "step_up")
	_, err = w.Delete(t.Context(), who, identity.Again{Password: good}, s.from)
	ok(t, err)
}
