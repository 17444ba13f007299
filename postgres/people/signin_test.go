package people_test

import (
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Whoever was vouched for while a new password by mail was under way is not signed in after
// it, though they were known when it began.
// Attack case 20. Control: while nothing is unlinked they are.
func TestAnAccountElsewhereThatIsBeingUnlinkedSignsNobodyIn(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	s, ctx := people.New(env.DB.Door()), t.Context()
	for name, meanwhile := range map[string]string{
		"nothing": `UPDATE users SET name = name WHERE user_id = $1`,
		"a reset": `WITH changed AS (UPDATE users SET password_hash = 'argon:2' WHERE user_id = $1) DELETE FROM identities WHERE user_id = $1`,
	} {
		who := join(t, s)
		robbers := people.Proof{Issuer: "https://issuer.example.com", Subject: unique("eve")}
		ok(t, s.Of(who.id).LinkIdentity(ctx, who.session, robbers.Issuer, robbers.Subject, who.email))
		release := hold(t, env, meanwhile, who.id)
		asked := make(chan error, 1)
		go func() { _, err := s.Of(who.id).SignIn(ctx, robbers, cli(hash())); asked <- err }()
		waiting(t, env, 1)
		release()
		if err := <-asked; name == "nothing" {
			ok(t, err)
		} else {
			wantKind(t, err, corp.KindUnauthenticated, people.CodeNotProved)
		}
	}
}
