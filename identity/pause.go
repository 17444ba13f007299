package identity

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
)

// PauseError is the cause of a refusal that is over after a while.
type PauseError struct{ For time.Duration }

// Error says how long it is.
func (p *PauseError) Error() string { return "a pause of " + p.For.String() }

// CodePause is the code of those refusals.
const CodePause = "rate_limited"

func paused(wait time.Duration) error {
	after := "a second"
	if s := math.Ceil(wait.Seconds()); s > 1 {
		after = fmt.Sprintf("%.0f seconds", s)
	}
	return &corp.Error{Kind: corp.KindLimit, Code: CodePause, Err: &PauseError{wait}, Message: "There were too many attempts.", Hint: "Try again in " + after + "."}
}

// What is admitted before anything is computed; nothing while a shared store is down. A hash takes 30 ms of a processor,
// so a third of each is what strangers can keep busy, and a tenth more those who proved who they are before.
var (
	attemptsOfAll = limit.Policy{Name: "sign-in", Quota: 600 * int64(runtime.GOMAXPROCS(0)), Window: time.Minute, Burst: 100 * int64(runtime.GOMAXPROCS(0)), FailClosed: true}
	// The share of one network in them, and of the site that it may be a part of: right or
	// wrong, nobody takes them all.
	attemptsHere = limit.Policy{Name: "sign-in-here", Quota: attemptsOfAll.Quota / 6, Window: time.Minute, Burst: attemptsOfAll.Burst / 6, FailClosed: true}
	attemptsSite = limit.Policy{Name: "sign-in-site", Quota: attemptsOfAll.Quota / 3, Window: time.Minute, Burst: attemptsOfAll.Burst / 3, FailClosed: true}
	// What is kept for who was known before, and the share of one account in it: whoever
	// has used that up is a stranger again.
	attemptsOfKnown = limit.Policy{Name: "sign-in-known", Quota: 200 * int64(runtime.GOMAXPROCS(0)), Window: time.Minute, Burst: 50 * int64(runtime.GOMAXPROCS(0)), FailClosed: true}
	attemptsOfOne   = limit.Policy{Name: "sign-in-account", Quota: 60, Window: time.Hour, Burst: 20, FailClosed: true}
	// Failures of a whole network, or an account as a whole, that are still people's
	// mistakes; after them the pause grows for all of it.
	mistakes = limit.Policy{Name: "sign-in-mistakes", Quota: 60, Window: time.Hour, Burst: 20, FailClosed: true}
	// Mails to one address that it did not ask for, perhaps: those that one network asks for,
	// so that nobody uses up what the owner would get, and all.
	lettersHere = limit.Policy{Name: "letters-here", Quota: 6, Window: time.Hour, Burst: 3, FailClosed: true}
	letters     = limit.Policy{Name: "letters", Quota: 30, Window: time.Hour, Burst: 12, FailClosed: true}
	// Invitations to one address: those of one workspace, so that none uses up what the
	// others may send, and all.
	invitationsHere = limit.Policy{Name: "invitations-here", Quota: 3, Window: time.Hour, Burst: 3, FailClosed: true}
	invitations     = limit.Policy{Name: "invitations", Quota: 12, Window: time.Hour, Burst: 9, FailClosed: true}
	// How often a device may ask, and a person guess the code of one, or of a new factor. A
	// device's is read four times when a proof is asked for.
	polls   = limit.Policy{Name: "device-polls", Quota: 30, Window: time.Minute, Burst: 3, FailClosed: true}
	devices = limit.Policy{Name: "device-codes", Quota: 60, Window: time.Hour, Burst: 20, FailClosed: true}
	guesses = limit.Policy{Name: "codes", Quota: 30, Window: time.Hour, Burst: 10, FailClosed: true}
)

// try is one attempt to prove something about an account.
type try struct {
	f       *Flows
	account string // the account from everywhere
	here    string // the account from this network: grows from the first failure
	network string // "" where nobody knows it: behind a proxy that is not trusted all come from one
	site    string // of which the network may be one of many; "" for IPv4
	known   string // the account in a known browser or session, in place of all of these; "" for a stranger's
}

// attempt is one at the account of an address. Known is what the browser or the session is
// called in which its owner was before; "" for a stranger's.
func (f *Flows) attempt(email, known string, from Caller) try {
	account := f.digest(email)
	t := try{f: f, account: "{" + account + "}:sign-in", here: limit.NetworkKey(from.Address, "sign-in:"+account)}
	if from.known() {
		t.network, t.site = limit.NetworkKey(from.Address, "sign-in-network"), limit.SiteKey(from.Address, "sign-in-site")
	}
	if known != "" {
		t.known = t.account + ":" + known
	}
	return t
}

// own is the pause that grows from the first failure.
func (t try) own() string {
	if t.known != "" {
		return t.known
	}
	return t.here
}

// wide are the pauses that grow only after many mistakes, and are for strangers.
func (t try) wide() []string {
	switch {
	case t.known != "":
		return nil
	case t.network == "":
		return []string{t.account}
	}
	return []string{t.account, t.network}
}

// known says whether the address is that of who asks, and not of a proxy beside us.
func (c Caller) known() bool { return c.Address.IsValid() && !c.Address.Unmap().IsLoopback() }

// admit asks every pause before anything is computed, and counts the attempt.
func (t *try) admit(ctx context.Context) error {
	if err := t.waits(ctx); err != nil {
		return err
	}
	err := t.count(ctx)
	if errors.Is(err, errStranger) {
		t.known = ""
		return t.admit(ctx)
	}
	return err
}

// errStranger says that an account has used up its share of what is kept for who is known.
var errStranger = errors.New("not known any more")

// count counts what is about to be computed, for whoever it is.
func (t try) count(ctx context.Context) error {
	if t.known != "" {
		if err := t.f.take(ctx, t.account+":known", attemptsOfOne); corp.KindOf(err) == corp.KindLimit {
			return errStranger
		} else if err != nil {
			return err
		}
		return t.f.take(ctx, "sign-in:known", attemptsOfKnown)
	}
	if t.network != "" {
		if err := t.f.take(ctx, t.network+":attempts", attemptsHere); err != nil {
			return err
		}
	}
	if t.site != "" {
		if err := t.f.take(ctx, t.site, attemptsSite); err != nil {
			return err
		}
	}
	return t.f.take(ctx, "sign-in:all", attemptsOfAll)
}

// waits returns a limit error while a pause lasts, and an unavailable one when nobody
// can say.
func (t try) waits(ctx context.Context) error {
	for _, key := range append([]string{t.own()}, t.wide()...) {
		wait, err := t.f.Backoff.Wait(ctx, key)
		if err != nil {
			return fmt.Errorf("ask the back-off: %w", err)
		}
		if wait > 0 {
			return paused(wait)
		}
	}
	return nil
}

// failed notes that the attempt was wrong.
func (t try) failed(ctx context.Context) error {
	if err := t.f.Backoff.Fail(ctx, t.own()); err != nil {
		return fmt.Errorf("note a failure: %w", err)
	}
	for _, key := range t.wide() {
		states, err := t.f.Limits.Take(ctx, []limit.Ask{{Key: key + ":mistakes", Policy: mistakes, Cost: 1}})
		if err != nil {
			return fmt.Errorf("count a failure: %w", err)
		}
		if _, many := limit.Denied(states); many {
			if err := t.f.Backoff.Fail(ctx, key); err != nil {
				return fmt.Errorf("note a failure: %w", err)
			}
		}
	}
	return nil
}

// passed notes that it was right, and done: a pause that cannot be ended ends by itself.
// The network's stays: else whoever has one account could go on with everybody else's.
func (t try) passed(ctx context.Context) {
	ended := []string{t.own()}
	if t.known == "" {
		ended = append(ended, t.account)
	}
	for _, key := range ended {
		if err := t.f.Backoff.Clear(ctx, key); err != nil {
			t.f.Logger.WarnContext(ctx, "a pause outlasts a proof that was right", "error", err)
		}
	}
}

// take counts one against a limit of its own.
func (f *Flows) take(ctx context.Context, key string, p limit.Policy) error {
	states, err := f.Limits.Take(ctx, []limit.Ask{{Key: key, Policy: p, Cost: 1}})
	if err != nil {
		return fmt.Errorf("ask the limit %s: %w", p.Name, err)
	}
	if worst, denied := limit.Denied(states); denied {
		return paused(worst.RetryAfter)
	}
	return nil
}
