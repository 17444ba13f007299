package identity

import (
	"context"
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
// so a third of each is what strangers can keep busy.
var (
	attemptsOfAll = limit.Policy{Name: "sign-in", Quota: 600 * int64(runtime.GOMAXPROCS(0)), Window: time.Minute, Burst: 100 * int64(runtime.GOMAXPROCS(0)), FailClosed: true}
	// The share of one network in them: right or wrong, nobody takes them all.
	attemptsHere = limit.Policy{Name: "sign-in-here", Quota: attemptsOfAll.Quota / 6, Window: time.Minute, Burst: attemptsOfAll.Burst / 6, FailClosed: true}
	// Failures of a whole network, or an account as a whole, that are still people's
	// mistakes; after them the pause grows for all of it.
	mistakes = limit.Policy{Name: "sign-in-mistakes", Quota: 60, Window: time.Hour, Burst: 20, FailClosed: true}
	// Mails to one address that it did not ask for, perhaps: those that one network asks for,
	// so that nobody uses up what the owner would get, and all.
	lettersHere = limit.Policy{Name: "letters-here", Quota: 6, Window: time.Hour, Burst: 3, FailClosed: true}
	letters     = limit.Policy{Name: "letters", Quota: 30, Window: time.Hour, Burst: 12, FailClosed: true}
	// Invitations to one address, whichever workspaces send them.
	invitations = limit.Policy{Name: "invitations", Quota: 6, Window: time.Hour, Burst: 6, FailClosed: true}
	// How often a device may ask, and a person guess the code of one, or of a new factor. A
	// device's is read four times when a proof is asked for.
	polls   = limit.Policy{Name: "device-polls", Quota: 30, Window: time.Minute, Burst: 3, FailClosed: true}
	devices = limit.Policy{Name: "device-codes", Quota: 60, Window: time.Hour, Burst: 20, FailClosed: true}
	guesses = limit.Policy{Name: "codes", Quota: 30, Window: time.Hour, Burst: 10, FailClosed: true}
)

// try is one attempt to prove something about an account.
type try struct {
	f       *Flows
	here    string // the account from this network, or a known browser: grows from the first failure
	account string // the account from everywhere; "" for a known browser
	network string // "" where nobody knows it: behind a proxy that is not trusted all come from one
}

// attempt is one at the account of an address. Known is what the browser or the session is
// called in which its owner was before; "" for a stranger's.
func (f *Flows) attempt(email, known string, from Caller) try {
	account := f.digest(email)
	t := try{f: f, here: limit.NetworkKey(from.Address, "sign-in:"+account)}
	if from.known() {
		t.network = limit.NetworkKey(from.Address, "sign-in-network")
	}
	if t.account = "{" + account + "}:sign-in"; known != "" {
		t.here, t.account = t.account+":"+known, ""
	}
	return t
}

// wide are the pauses that grow only after many mistakes, and are for strangers.
func (t try) wide() []string {
	switch {
	case t.account == "":
		return nil
	case t.network == "":
		return []string{t.account}
	}
	return []string{t.account, t.network}
}

// known says whether the address is that of who asks, and not of a proxy beside us.
func (c Caller) known() bool { return c.Address.IsValid() && !c.Address.Unmap().IsLoopback() }

// admit asks every pause before anything is computed, and counts the attempt.
func (t try) admit(ctx context.Context) error {
	if err := t.waits(ctx); err != nil {
		return err
	}
	if t.network != "" {
		if err := t.f.take(ctx, t.network+":attempts", attemptsHere); err != nil {
			return err
		}
	}
	return t.f.take(ctx, "sign-in:all", attemptsOfAll)
}

// waits returns a limit error while a pause lasts, and an unavailable one when nobody
// can say.
func (t try) waits(ctx context.Context) error {
	for _, key := range append([]string{t.here}, t.wide()...) {
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
	if err := t.f.Backoff.Fail(ctx, t.here); err != nil {
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
	ended := []string{t.here}
	if t.account != "" {
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
