package identity

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/postgres/people"
)

// NewDevice is what a command line without a browser shows and waits with
// (RFC 8628).
type NewDevice struct {
	Secret   string // which it asks with
	Code     string // which the person types: "BCDF-GHJK"
	Page     string // where
	Lasts    time.Duration
	Interval time.Duration // between two questions
}

// consonants make no words, and are told apart by eye and ear.
const (
	consonants   = "BCDFGHJKLMNPQRSTVWXZ"
	codeLength   = 8
	pollInterval = 5 * time.Second
)

// BeginDevice begins the sign-in of a command line.
func (f *Flows) BeginDevice(ctx context.Context, from Caller) (NewDevice, error) {
	d := NewDevice{Secret: corp.NewSecret(corp.KeyPrefixDevice), Code: newCode(), Page: f.PublicURL + "/device", Lasts: deviceLasts, Interval: pollInterval}
	canonical, _ := readCode(d.Code)
	err := f.People.BeginDevice(ctx, f.Ring.Hash(d.Secret), f.Ring.Hash(canonical), from.address(), from.userAgent(), deviceLasts)
	return d, err
}

func newCode() string {
	var b strings.Builder
	for b.Len() < codeLength+1 {
		var random [1]byte
		_, _ = rand.Read(random[:]) // crypto/rand.Read never fails
		if random[0] >= 240 {       // the largest multiple of 20 in a byte: below it the remainder is uniform
			continue
		}
		if b.Len() == codeLength/2 {
			b.WriteByte('-')
		}
		b.WriteByte(consonants[random[0]%20])
	}
	return b.String()
}

// readCode returns the one spelling of a typed code.
func readCode(typed string) (canonical string, ok bool) {
	c := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(typed))
	return "device code " + c, len(c) == codeLength && strings.Trim(c, consonants) == ""
}

// Waiting is a command line that asks to be let in, as the person sees it.
type Waiting struct{ Address, UserAgent string }

// Device shows where a code was asked for, so that a person lets in only their own.
func (f *Flows) Device(ctx context.Context, who corp.Identity, typed string) (Waiting, error) {
	hash, err := f.deviceCode(ctx, who, typed)
	if err != nil {
		return Waiting{}, err
	}
	address, agent, ok, err := f.People.DeviceByCode(ctx, hash)
	if err == nil && !ok {
		err = corp.NotFound("code")
	}
	return Waiting{address, agent}, err
}

// DeviceReply is what a person says of a command line that asks to be let in.
type DeviceReply struct {
	Code    string
	WorksIn corp.WorkspaceID // one of the person's, when zero
	Yes     bool
	Again   Again
}

// AnswerDevice lets a command line in as this person, or turns it away. To let it in
// needs a fresh proof: what is let in outlasts the session that does.
func (f *Flows) AnswerDevice(ctx context.Context, who corp.Identity, r DeviceReply, from Caller) error {
	hash, err := f.deviceCode(ctx, who, r.Code)
	if err != nil {
		return err
	}
	if r.Yes {
		if err := f.Fresh(ctx, who, r.Again, from); err != nil {
			return err
		}
	}
	return f.People.Of(who.User).AnswerDevice(ctx, hash, who.Session, r.WorksIn, r.Yes)
}

// deviceCode reads a typed code. Who is signed in may guess, but not often.
func (f *Flows) deviceCode(ctx context.Context, who corp.Identity, typed string) ([]byte, error) {
	if who.Session.IsZero() {
		return nil, needsSession()
	}
	if err := f.take(ctx, "{"+who.User.String()+"}:device-codes", devices); err != nil {
		return nil, err
	}
	canonical, ok := readCode(typed)
	if !ok {
		return nil, corp.NotFound("code")
	}
	return f.Ring.Hash(canonical), nil
}

// The codes of a device's answers, as RFC 8628 (3.5) calls them.
const (
	CodePending = "authorization_pending"
	CodeSlow    = "slow_down"
	CodeDenied  = "access_denied"
	CodeOver    = "expired_token"
)

// TakeDevice signs a command line in when the person has said yes. Until then it
// returns a conflict with one of the codes above.
func (f *Flows) TakeDevice(ctx context.Context, secret string, from Caller) (SignedIn, error) {
	if prefix, whole := corp.SecretPrefix(secret); !whole || prefix != corp.KeyPrefixDevice {
		return SignedIn{}, deviceOver()
	}
	hash := f.Ring.Hash(secret)
	states, err := f.Limits.Take(ctx, []limit.Ask{{Key: "{" + hex.EncodeToString(hash[:8]) + "}:device", Policy: polls, Cost: 1}})
	if err != nil {
		return SignedIn{}, err
	}
	if _, early := limit.Denied(states); early {
		return SignedIn{}, deviceSays(CodeSlow, "That was asked too soon.", "Ask every five seconds.")
	}
	d, ok, err := f.People.Device(ctx, hash)
	switch {
	case err != nil:
		return SignedIn{}, err
	case !ok || d.Expired || d.Taken:
		return SignedIn{}, deviceOver()
	case d.Denied:
		return SignedIn{}, deviceSays(CodeDenied, "The sign-in was turned away.", "Begin again if that was a mistake.")
	case d.Person.IsZero():
		return SignedIn{}, deviceSays(CodePending, "Nobody has said yes yet.", "Open the page, type the code, and ask again in five seconds.")
	}
	return f.takeDevice(ctx, d, hash, from)
}

func (f *Flows) takeDevice(ctx context.Context, d people.Device, hash []byte, from Caller) (SignedIn, error) {
	s := f.newSession(corp.SessionCLI, from)
	s.row.WorksIn = d.WorksIn
	if err := f.People.Of(d.Person).TakeDevice(ctx, hash, s.row); err != nil {
		if corp.KindOf(err) == corp.KindUnauthenticated {
			err = deviceOver()
		}
		return SignedIn{}, err
	}
	return f.signedIn(ctx, d.Person, s)
}

func deviceOver() error {
	return deviceSays(CodeOver, "This sign-in is over.", "Begin again: corp login.")
}

func deviceSays(code, message, hint string) error {
	return &corp.Error{Kind: corp.KindConflict, Code: code, Message: message, Hint: hint}
}
