package people_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func hash() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

func unique(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

func store(t *testing.T) *people.Store {
	t.Helper()
	return people.New(pgtest.DB(t).Door())
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, kind corp.Kind, code string) {
	t.Helper()
	e, is := errors.AsType[*corp.Error](err)
	if !is || e.Kind != kind || code != "" && e.Code != code {
		t.Errorf("%v, want %s %s", err, kind, code)
	}
}

func cli(refresh []byte) people.NewSession {
	return people.NewSession{ID: corp.NewID[corp.SessionID](), Kind: corp.SessionCLI, Refresh: refresh, Address: "203.0.113.7", UserAgent: "corp/test", Idle: time.Hour, Lasts: 24 * time.Hour}
}

// someone is a person who has signed up and is signed in.
type someone struct {
	id      corp.UserID
	email   string
	session corp.SessionID
	refresh []byte
}

func join(t *testing.T, s *people.Store) someone {
	t.Helper()
	who := someone{id: corp.NewID[corp.UserID](), email: unique("ada-") + "@example.com", refresh: hash()}
	link := hash()
	ok(t, s.MakeLink(t.Context(), link, people.Link{Purpose: people.PurposeVerify, Email: who.email, Name: "Ada"}, time.Hour))
	n := cli(who.refresh)
	who.session = n.ID
	ok(t, s.Of(who.id).Join(t.Context(), people.NewUser{Link: link, PasswordHash: "argon:1"}, n))
	return who
}

// member puts somebody into a workspace, by an invitation.
func member(t *testing.T, s *people.Store, ws corp.WorkspaceID, who someone, role corp.Role) {
	t.Helper()
	secret := hash()
	must(s.In(ws).Invite(t.Context(), "system", who.email, role, secret, time.Hour))(t)
	must(s.Of(who.id).Accept(t.Context(), secret))(t)
}

func TestALinkMakesOneAccount(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	email, link := unique("Grace-")+"@Example.com", hash()
	ok(t, s.MakeLink(ctx, link, people.Link{Purpose: people.PurposeVerify, Email: email, Name: "Grace"}, time.Hour))
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			errs[i] = s.Of(corp.NewID[corp.UserID]()).Join(ctx, people.NewUser{Link: link, PasswordHash: "x"}, cli(hash()))
		})
	}
	all.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if kind := corp.KindOf(err); kind != corp.KindNotFound && kind != corp.KindConflict {
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d accounts", made)
	}
	account, known, err := s.ByEmail(ctx, strings.ToUpper(email))
	if err != nil || !known || account.Name != "Grace" || account.Email != strings.ToLower(email) || account.PasswordHash != "x" {
		t.Errorf("%+v %v %v", account, known, err)
	}
	second := hash()
	ok(t, s.MakeLink(ctx, second, people.Link{Purpose: people.PurposeVerify, Email: email}, time.Hour))
	wantKind(t, s.Of(corp.NewID[corp.UserID]()).Join(ctx, people.NewUser{Link: second}, cli(nil)), corp.KindConflict, "address_taken")
	if _, open, err := s.Link(ctx, second); !open || err != nil {
		t.Errorf("a link that did nothing is spent: %v", err)
	}
	over := hash()
	ok(t, s.MakeLink(ctx, over, people.Link{Purpose: people.PurposeVerify, Email: unique("x@")}, -time.Second))
	wantKind(t, s.Of(corp.NewID[corp.UserID]()).Join(ctx, people.NewUser{Link: over}, cli(nil)), corp.KindNotFound, "link")
	reset := hash()
	ok(t, s.MakeLink(ctx, reset, people.Link{Purpose: people.PurposeReset, Email: email, Person: account.ID}, time.Hour))
	wantKind(t, s.Of(corp.NewID[corp.UserID]()).Join(ctx, people.NewUser{Link: reset}, cli(nil)), corp.KindNotFound, "link")
}

func TestSigningInAsksForEveryProof(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	who := join(t, s)
	p := s.Of(who.id)
	try := func(proof people.Proof) error { _, err := p.SignIn(ctx, proof, cli(hash())); return err }
	ok(t, try(people.Proof{Password: "argon:1", Upgrade: "argon:2"}))
	wantKind(t, try(people.Proof{Password: "argon:1"}), corp.KindUnauthenticated, "not_proved") // it was upgraded meanwhile
	wantKind(t, try(people.Proof{}), corp.KindUnauthenticated, "not_proved")
	theirs := people.Proof{Issuer: "https://issuer.example.com", Subject: unique("ada")}
	wantKind(t, try(theirs), corp.KindUnauthenticated, "not_proved")
	ok(t, p.LinkIdentity(ctx, who.session, theirs.Issuer, theirs.Subject, who.email))
	ok(t, try(theirs))
	wantKind(t, try(people.Proof{Issuer: theirs.Issuer, Subject: "somebody else"}), corp.KindUnauthenticated, "not_proved")

	secret, codes := []byte("sealed"), [][]byte{hash(), hash()}
	ok(t, p.BeginSecondFactor(ctx, secret))
	wantKind(t, p.ConfirmSecondFactor(ctx, []byte("other"), 5, codes), corp.KindConflict, "")
	if pending := must(p.PendingSecondFactor(ctx))(t); string(pending) != "sealed" {
		t.Errorf("%q", pending)
	}
	ok(t, p.ConfirmSecondFactor(ctx, secret, 5, codes))
	wantKind(t, p.BeginSecondFactor(ctx, secret), corp.KindConflict, "")
	wantKind(t, try(people.Proof{Password: "argon:2"}), corp.KindUnauthenticated, "not_proved")
	wantKind(t, try(people.Proof{Password: "argon:2", Step: 5}), corp.KindUnauthenticated, "not_proved")
	ok(t, try(people.Proof{Password: "argon:2", Step: 6}))
	wantKind(t, try(people.Proof{Password: "argon:2", Step: 6}), corp.KindUnauthenticated, "not_proved")
	ok(t, try(people.Proof{Password: "argon:2", Recovery: codes[0]}))
	wantKind(t, try(people.Proof{Password: "argon:2", Recovery: codes[0]}), corp.KindUnauthenticated, "not_proved")
	if left := must(p.RecoveryCodesLeft(ctx))(t); left != 1 {
		t.Errorf("%d recovery codes left", left)
	}
	ok(t, p.ReplaceRecoveryCodes(ctx, [][]byte{hash(), hash(), hash()}))
	if left := must(p.RecoveryCodesLeft(ctx))(t); left != 3 {
		t.Errorf("%d recovery codes left", left)
	}
	ok(t, p.DropSecondFactor(ctx))
	ok(t, try(people.Proof{Password: "argon:2"}))
	wantKind(t, p.ReplaceRecoveryCodes(ctx, nil), corp.KindConflict, "")

	ok(t, s.System("test").Disable(ctx, who.id, true))
	wantKind(t, try(people.Proof{Password: "argon:2"}), corp.KindUnauthenticated, "not_proved")
	_, err := s.BySession(ctx, who.session)
	wantKind(t, err, corp.KindUnauthenticated, "signed_out")
	ok(t, s.System("test").Disable(ctx, who.id, false))
	ok(t, try(people.Proof{Password: "argon:2"}))
	wantKind(t, s.System("test").Disable(ctx, corp.NewID[corp.UserID](), true), corp.KindNotFound, "")
}

// Attack cases 17 and 18. Control: one rotates, nineteen repeat, and the session lives.
func TestARefreshCredentialIsUsedOnce(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	who := join(t, s)
	next := hash()
	outcomes := make([]people.Refreshed, 20)
	var all sync.WaitGroup
	for i := range outcomes {
		all.Go(func() {
			_, session, outcome, err := s.Refresh(ctx, who.refresh, next, time.Minute)
			if outcomes[i] = outcome; err != nil || session != who.session {
				t.Errorf("%s %v", session, err)
			}
		})
	}
	all.Wait()
	count := map[people.Refreshed]int{}
	for _, o := range outcomes {
		count[o]++
	}
	if count[people.RefreshRotated] != 1 || count[people.RefreshRepeat] != 19 {
		t.Errorf("%v", count)
	}
	must(s.BySession(ctx, who.session))(t)
	if _, _, outcome, err := s.Refresh(ctx, hash(), hash(), time.Minute); outcome != people.RefreshUnknown || err != nil {
		t.Errorf("%s %v", outcome, err)
	}
	if _, _, outcome, err := s.Refresh(ctx, who.refresh, next, -time.Hour); outcome != people.RefreshReuse || err != nil {
		t.Errorf("%s %v", outcome, err)
	}
	_, err := s.BySession(ctx, who.session)
	wantKind(t, err, corp.KindUnauthenticated, "signed_out")
	if _, _, outcome, err := s.Refresh(ctx, next, hash(), time.Minute); outcome != people.RefreshUnknown || err != nil {
		t.Errorf("the successor of a credential that somebody copied: %s %v", outcome, err)
	}
}

func TestSessionsAreTheirOwnersAlone(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	ada, bob := join(t, s), join(t, s)
	wantKind(t, s.Of(bob.id).EndSession(ctx, ada.session, "revoked"), corp.KindNotFound, "")
	wantKind(t, s.Of(bob.id).WorkIn(ctx, ada.session, pgtest.Workspace(t)), corp.KindNotFound, "")
	if list := must(s.Of(bob.id).Sessions(ctx))(t); len(list) != 1 || list[0].ID != bob.session {
		t.Errorf("%+v", list)
	}
	cookie, browser := hash(), cli(nil)
	browser.Kind, browser.Cookie = corp.SessionBrowser, cookie
	must(s.Of(ada.id).SignIn(ctx, people.Proof{Password: "argon:1"}, browser))(t)
	who := must(s.ByCookie(ctx, cookie))(t)
	if who.User != ada.id || who.Session != browser.ID || who.Kind != corp.SessionBrowser || who.Role != "" || !who.Workspace.IsZero() {
		t.Errorf("%+v", who)
	}
	_, err := s.BySession(ctx, browser.ID) // a browser's session is known by its cookie only
	wantKind(t, err, corp.KindUnauthenticated, "")
	fresh := hash()
	ok(t, s.Of(ada.id).StepUp(ctx, browser.ID, people.Proof{Password: "argon:1"}, fresh))
	_, err = s.ByCookie(ctx, cookie)
	wantKind(t, err, corp.KindUnauthenticated, "")
	must(s.ByCookie(ctx, fresh))(t)
	wantKind(t, s.Of(ada.id).StepUp(ctx, ada.session, people.Proof{Password: "wrong"}, nil), corp.KindUnauthenticated, "not_proved")
	ok(t, s.Of(ada.id).StepUp(ctx, ada.session, people.Proof{Password: "argon:1"}, nil))
	session, age, err := s.Of(ada.id).Session(ctx, ada.session)
	if err != nil || session.ID != ada.session || age > time.Minute {
		t.Errorf("%+v %s %v", session, age, err)
	}
	ok(t, s.Of(ada.id).Seen(ctx, ada.session))
	ok(t, s.Of(ada.id).EndSession(ctx, browser.ID, "revoked"))
	_, err = s.ByCookie(ctx, fresh)
	wantKind(t, err, corp.KindUnauthenticated, "")
	must(s.BySession(ctx, ada.session))(t)
	must(s.System("test").SignOut(ctx, ada.id))(t)
	_, err = s.BySession(ctx, ada.session)
	wantKind(t, err, corp.KindUnauthenticated, "")
	ok(t, s.Of(ada.id).EndSession(ctx, ada.session, "revoked"))
}

// Attack case 20. Control: another one follows the session that asks.
func TestANewPasswordEndsWhatTheOldOneBegan(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	who := join(t, s)
	p := s.Of(who.id)
	other := cli(hash())
	must(p.SignIn(ctx, people.Proof{Password: "argon:1"}, other))(t)
	wantKind(t, p.SetPassword(ctx, people.PasswordChange{Was: "stale", Hash: "new"}), corp.KindConflict, "")
	next := cli(hash())
	ok(t, p.SetPassword(ctx, people.PasswordChange{Was: "argon:1", Hash: "argon:2", By: who.session, Next: next}))
	must(s.BySession(ctx, next.ID))(t)
	for _, over := range []corp.SessionID{other.ID, who.session} {
		_, err := s.BySession(ctx, over)
		wantKind(t, err, corp.KindUnauthenticated, "")
	}
	wantKind(t, p.SetPassword(ctx, people.PasswordChange{Was: "argon:2", Hash: "argon:9", By: who.session, Next: cli(hash())}), corp.KindUnauthenticated, "signed_out")
	who.session = next.ID
	first, second := hash(), hash()
	for _, link := range [][]byte{first, second} {
		ok(t, s.MakeLink(ctx, link, people.Link{Purpose: people.PurposeReset, Email: who.email, Person: who.id}, time.Hour))
	}
	ok(t, p.SetPassword(ctx, people.PasswordChange{Link: first, Hash: "argon:3", EndKeys: true}))
	for _, link := range [][]byte{first, second} {
		wantKind(t, p.SetPassword(ctx, people.PasswordChange{Link: link, Hash: "argon:4"}), corp.KindNotFound, "link")
	}
	_, err := s.BySession(ctx, who.session)
	wantKind(t, err, corp.KindUnauthenticated, "")
	if a := must(p.Credentials(ctx))(t); a.PasswordHash != "argon:3" {
		t.Errorf("%+v", a)
	}
	change, taken := hash(), join(t, s)
	moved := unique("moved-") + "@example.com"
	ok(t, s.MakeLink(ctx, change, people.Link{Purpose: people.PurposeChange, Email: taken.email, Person: who.id}, time.Hour))
	_, err = p.ChangeEmail(ctx, change, taken.email)
	wantKind(t, err, corp.KindConflict, "address_taken")
	if was := must(p.ChangeEmail(ctx, change, moved))(t); was != who.email {
		t.Errorf("it was %s", was)
	}
	if u := must(p.User(ctx))(t); u.Email != moved || !u.Password || u.SecondFactor {
		t.Errorf("%+v", u)
	}
	if u := must(p.Rename(ctx, "Countess"))(t); u.Name != "Countess" {
		t.Errorf("%+v", u)
	}
}

// Attack case 60. Control: roles up to one's own are given, and an owner hands over.
func TestNobodyActsAboveTheirRole(t *testing.T) {
	t.Parallel()
	s, ctx, ws := store(t), t.Context(), pgtest.Workspace(t)
	w := s.In(ws)
	owner, admin, viewer := join(t, s), join(t, s), join(t, s)
	member(t, s, ws, owner, corp.RoleOwner)
	member(t, s, ws, admin, corp.RoleAdmin)
	member(t, s, ws, viewer, corp.RoleViewer)
	_, err := w.SetRole(ctx, "x", corp.RoleAdmin, viewer.id, corp.RoleOwner)
	wantKind(t, err, corp.KindForbidden, "")
	_, err = w.SetRole(ctx, "x", corp.RoleAdmin, owner.id, corp.RoleViewer)
	wantKind(t, err, corp.KindForbidden, "")
	wantKind(t, w.RemoveMember(ctx, "x", corp.RoleAdmin, owner.id), corp.KindForbidden, "")
	if m := must(w.SetRole(ctx, "x", corp.RoleAdmin, viewer.id, corp.RoleAdmin))(t); m.Role != corp.RoleAdmin || m.Email != viewer.email {
		t.Errorf("%+v", m)
	}
	wantKind(t, w.HandOver(ctx, "x", admin.id, viewer.id), corp.KindForbidden, "")
	wantKind(t, w.HandOver(ctx, "x", owner.id, owner.id), corp.KindInvalid, "")
	wantKind(t, w.HandOver(ctx, "x", owner.id, corp.NewID[corp.UserID]()), corp.KindNotFound, "")
	ok(t, w.HandOver(ctx, "x", owner.id, admin.id))
	roles := map[corp.UserID]corp.Role{}
	for _, m := range must(w.Members(ctx, corp.Page{}))(t).Items {
		roles[m.UserID] = m.Role
	}
	if roles[owner.id] != corp.RoleAdmin || roles[admin.id] != corp.RoleOwner {
		t.Errorf("%v", roles)
	}
	other := s.In(pgtest.Workspace(t))
	wantKind(t, other.RemoveMember(ctx, "x", corp.RoleOwner, viewer.id), corp.KindNotFound, "")
	if list := must(other.Members(ctx, corp.Page{}))(t); len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestAnInvitationIsForItsAddressOnce(t *testing.T) {
	t.Parallel()
	s, ctx, ws := store(t), t.Context(), pgtest.Workspace(t)
	w, ada, eve := s.In(ws), join(t, s), join(t, s)
	first, second := hash(), hash()
	old := must(w.Invite(ctx, "system", ada.email, corp.RoleViewer, first, time.Hour))(t)
	made := must(w.Invite(ctx, "system", ada.email, corp.RoleMember, second, time.Hour))(t)
	if list := must(w.Invitations(ctx, corp.Page{}))(t).Items; len(list) != 1 || list[0].ID != made.ID {
		t.Errorf("%+v", list)
	}
	_, err := s.Of(ada.id).Accept(ctx, first)
	wantKind(t, err, corp.KindNotFound, "link")
	_, err = s.Of(eve.id).Accept(ctx, second)
	wantKind(t, err, corp.KindNotFound, "link")
	if m := must(s.Of(ada.id).Accept(ctx, second))(t); m.WorkspaceID != ws || m.Role != corp.RoleMember {
		t.Errorf("%+v", m)
	}
	_, err = s.Of(ada.id).Accept(ctx, second)
	wantKind(t, err, corp.KindNotFound, "link")
	_, err = w.Invite(ctx, "system", ada.email, corp.RoleOwner, hash(), time.Hour)
	wantKind(t, err, corp.KindConflict, "member_already")
	_, err = w.RevokeInvitation(ctx, "system", made.ID)
	wantKind(t, err, corp.KindConflict, "")
	must(w.RevokeInvitation(ctx, "system", old.ID))(t)
	_, err = w.RevokeInvitation(ctx, "system", corp.NewID[corp.InvitationID]())
	wantKind(t, err, corp.KindNotFound, "")

	secret, newcomer := hash(), corp.NewID[corp.UserID]()
	must(w.Invite(ctx, "system", unique("new-")+"@example.com", corp.RoleAdmin, secret, time.Hour))(t)
	n := cli(hash())
	ok(t, s.Of(newcomer).Join(ctx, people.NewUser{Invitation: secret, Name: "New", PasswordHash: "x"}, n))
	who := must(s.BySession(ctx, n.ID))(t)
	if who.Workspace != ws || who.Role != corp.RoleAdmin || who.Slug == "" || who.Plan != "unlimited" || who.Actor != corp.Actor(newcomer.String()) {
		t.Errorf("%+v", who)
	}
	ok(t, w.RemoveMember(ctx, "x", corp.RoleOwner, newcomer))
	if who := must(s.BySession(ctx, n.ID))(t); who.Role != "" || !who.Workspace.IsZero() {
		t.Errorf("%+v", who)
	}
}

func TestDeletionHasAGracePeriod(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	ada, bob, alone, together := join(t, s), join(t, s), pgtest.Workspace(t), pgtest.Workspace(t)
	member(t, s, alone, ada, corp.RoleOwner)
	member(t, s, together, ada, corp.RoleOwner)
	member(t, s, together, bob, corp.RoleMember)
	p := s.Of(ada.id)
	_, err := p.AskDeletion(ctx, time.Hour)
	wantKind(t, err, corp.KindConflict, "last_owner")
	if list := must(p.Workspaces(ctx))(t); len(list) != 2 || list[0].DeleteAfter != nil || list[1].DeleteAfter != nil {
		t.Errorf("%+v", list)
	}
	ok(t, s.In(together).HandOver(ctx, "x", ada.id, bob.id))
	if at := must(p.AskDeletion(ctx, time.Hour))(t); time.Until(at) < 50*time.Minute {
		t.Error(at)
	}
	_, err = s.BySession(ctx, ada.session)
	wantKind(t, err, corp.KindUnauthenticated, "")
	if back := must(p.SignIn(ctx, people.Proof{Password: "argon:1"}, cli(hash())))(t); !back {
		t.Error("the deletion was not taken back")
	}
	for _, m := range must(p.Workspaces(ctx))(t) {
		if m.DeleteAfter != nil {
			t.Errorf("%+v", m)
		}
	}
	must(s.In(together).DeleteWorkspace(ctx, "x", bob.id, time.Hour))(t)
	wantKind(t, p.Restore(ctx, together), corp.KindNotFound, "")
	ok(t, s.Of(bob.id).Restore(ctx, together))
	wantKind(t, s.Of(bob.id).Restore(ctx, together), corp.KindNotFound, "")
}

func TestADeviceIsLetInOnceByAPerson(t *testing.T) {
	t.Parallel()
	s, ctx, ws := store(t), t.Context(), pgtest.Workspace(t)
	ada, eve := join(t, s), join(t, s)
	member(t, s, ws, ada, corp.RoleMember)
	secret, code := hash(), hash()
	ok(t, s.BeginDevice(ctx, secret, code, "203.0.113.9", "corp", time.Minute))
	if address, agent, open, err := s.DeviceByCode(ctx, code); address != "203.0.113.9" || agent != "corp" || !open || err != nil {
		t.Error(address, agent, open, err)
	}
	wantKind(t, s.Of(eve.id).AnswerDevice(ctx, code, eve.session, ws, true), corp.KindNotFound, "")
	wantKind(t, s.Of(ada.id).TakeDevice(ctx, secret, cli(hash())), corp.KindUnauthenticated, "")
	wantKind(t, s.Of(ada.id).AnswerDevice(ctx, code, eve.session, ws, true), corp.KindNotFound, "")
	ok(t, s.Of(ada.id).AnswerDevice(ctx, code, ada.session, ws, true))
	wantKind(t, s.Of(eve.id).AnswerDevice(ctx, code, eve.session, corp.WorkspaceID{}, true), corp.KindNotFound, "")
	d, known, err := s.Device(ctx, secret)
	if err != nil || !known || d.Person != ada.id || d.WorksIn != ws || d.Denied || d.Expired || d.Taken {
		t.Errorf("%+v %v %v", d, known, err)
	}
	wantKind(t, s.Of(eve.id).TakeDevice(ctx, secret, cli(hash())), corp.KindUnauthenticated, "")
	ok(t, s.Of(ada.id).TakeDevice(ctx, secret, cli(hash())))
	wantKind(t, s.Of(ada.id).TakeDevice(ctx, secret, cli(hash())), corp.KindUnauthenticated, "")
	denied, no := hash(), hash()
	ok(t, s.BeginDevice(ctx, denied, no, "", "", time.Minute))
	ok(t, s.Of(ada.id).AnswerDevice(ctx, no, ada.session, corp.WorkspaceID{}, false))
	if d, _, _ := s.Device(ctx, denied); !d.Denied || !d.Person.IsZero() {
		t.Errorf("%+v", d)
	}
}

func TestAnIssuersSubjectIsOnePerson(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	id, subject := corp.NewID[corp.UserID](), unique("sub-")
	ok(t, s.Of(id).Join(ctx, people.NewUser{Email: unique("x-") + "@example.com", Name: "X", Issuer: "https://issuer.example.com", Subject: subject}, cli(hash())))
	if a, known, err := s.ByIdentity(ctx, "https://issuer.example.com", subject); err != nil || !known || a.ID != id || a.PasswordHash != "" {
		t.Errorf("%+v %v %v", a, known, err)
	}
	if _, known, err := s.ByIdentity(ctx, "https://other.example.com", subject); known || err != nil {
		t.Error(known, err)
	}
	_, err := s.Of(id).SignIn(ctx, people.Proof{}, cli(hash()))
	wantKind(t, err, corp.KindUnauthenticated, "not_proved")
	ada := join(t, s)
	wantKind(t, s.Of(ada.id).LinkIdentity(ctx, corp.SessionID{}, "https://issuer.example.com", subject, ""), corp.KindConflict, "")
	ok(t, s.Of(ada.id).LinkIdentity(ctx, corp.SessionID{}, "https://issuer.example.com", subject+"2", "a@example.com"))
	if list := must(s.Of(ada.id).Identities(ctx))(t); len(list) != 1 || list[0].Subject != subject+"2" {
		t.Errorf("%+v", list)
	}
	ok(t, s.Of(ada.id).UnlinkIdentity(ctx, "https://issuer.example.com", subject+"2"))
	wantKind(t, s.Of(ada.id).UnlinkIdentity(ctx, "https://issuer.example.com", subject+"2"), corp.KindNotFound, "")
	wantKind(t, s.Of(id).UnlinkIdentity(ctx, "https://issuer.example.com", subject), corp.KindConflict, "")
}

func TestSigningKeysAreKeptByOneServerAtATime(t *testing.T) {
	t.Parallel()
	s, ctx := people.New(pgtest.Database(t).DB.Door()), t.Context()
	keep := func() ([]people.SigningKey, error) {
		return s.System("test").KeepSigningKeys(ctx, func(now time.Time, kept []people.SigningKey) (add []people.SigningKey, drop []corp.SigningKeyID) {
			if len(kept) == 0 {
				add = []people.SigningKey{{ID: corp.NewID[corp.SigningKeyID](), Public: []byte("p"), Private: []byte("s"), ActiveFrom: now, RetiredAt: now.Add(time.Hour)}}
			}
			return add, nil
		})
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if kept, err := keep(); err != nil || len(kept) != 1 {
				t.Errorf("%v %v", kept, err)
			}
		})
	}
	all.Wait()
	if kept := must(s.System("test").SigningKeys(ctx))(t); len(kept) != 1 || string(kept[0].Private) != "s" {
		t.Errorf("%+v", kept)
	}
	must(s.System("test").DropOver(ctx))(t)
	if list := must(s.System("test").Users(ctx, corp.Page{}))(t); len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
}
