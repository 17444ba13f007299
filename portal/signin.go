package portal

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/oidc"
)

// entrance is what the page of signing in shows.
type entrance struct {
	Next    string
	Issuers []string
	SignUp  bool
	Half    string // what was proved already; then a code is asked for
}

func (p *Portal) entrance(next, half string) screen {
	s := screen{view: "signin", Title: "Sign in", Data: entrance{Next: goOn(next), Issuers: p.flows.Issuers(), SignUp: p.flows.SignUp, Half: half}}
	if half != "" {
		s.Title = "One more step"
	}
	return s
}

func (p *Portal) signInPage(_ context.Context, v api.Visit) (api.Reply, error) {
	next := v.Request.URL.Query().Get("next")
	if !v.Who.Session.IsZero() {
		return lead(goOn(next)), nil
	}
	s := p.entrance(next, "")
	s.Notice = notice(v)
	return p.show(v, s), nil
}

// halfLasts is how long somebody has to look for their one-time code.
const halfLasts = 5 * time.Minute

// half is a right password whose code is still missing. It waits in the form, sealed:
// nobody types a password twice, and the server remembers nothing.
type half struct {
	Email, Password string
	Until           time.Time
}

func (p *Portal) sealHalf(h half) string {
	text, _ := json.Marshal(h) //nolint:gosec // G117: it is sealed in the next line; texts and a time always can be
	return base64.RawURLEncoding.EncodeToString(p.flows.Ring.Seal(text, "half a sign-in"))
}

func (p *Portal) openHalf(text string) (h half, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		var plain []byte
		if plain, err = p.flows.Ring.Open(sealed, "half a sign-in"); err == nil {
			err = json.Unmarshal(plain, &h)
		}
	}
	if err != nil || p.flows.Now().After(h.Until) {
		return half{}, &corp.Error{Kind: corp.KindInvalid, Field: "email", Message: "That took too long.", Hint: "Sign in from the start.", Err: err}
	}
	return h, nil
}

func (p *Portal) signIn(ctx context.Context, v api.Visit) (api.Reply, error) {
	form := v.Request.PostForm
	login := identity.Login{Email: form.Get("email"), Password: form.Get("password"), Code: form.Get("code"), Kind: corp.SessionBrowser}
	kept := form.Get("half")
	if kept != "" {
		h, err := p.openHalf(kept)
		if err != nil {
			return p.answer(v, p.entrance(form.Get("next"), ""), "signin", err)
		}
		login.Email, login.Password = h.Email, h.Password
		form.Set("email", h.Email) // of a refusal, the audit log says whose
	}
	if note, err := v.Request.Cookie(api.CookieName(p.secure) + known); err == nil {
		v.From.Note = note.Value
	}
	in, err := p.flows.SignIn(ctx, login, v.From)
	if err != nil {
		if codeOf(err) == identity.CodeSecondFactor && kept == "" {
			kept = p.sealHalf(half{login.Email, login.Password, p.flows.Now().Add(halfLasts)})
		}
		return p.answer(v, p.entrance(form.Get("next"), kept), "signin", err)
	}
	next := goOn(form.Get("next"))
	if in.TookBack {
		next = "/account?done=back"
	}
	return p.welcome(in, next), nil
}

// known is the suffix of the cookie that says who has signed in here, which outlasts
// signing out.
const (
	known      = "_known"
	knownLasts = 180 * 24 * time.Hour
)

// welcome gives the browser its cookies, and leads on.
func (p *Portal) welcome(in identity.SignedIn, next string, more ...http.Cookie) api.Reply {
	if in.Note != "" {
		more = append(more, p.cookie(known, in.Note, knownLasts))
	}
	return lead(next, append(more, p.cookie("", in.Cookie, in.Lasts))...)
}

func (p *Portal) signOut(ctx context.Context, v api.Visit) (api.Reply, error) {
	if err := p.flows.SignOut(ctx, v.Who); err != nil {
		return p.problem(v, err), err
	}
	return lead("/sign-in?done=out", p.gone("")), nil
}

// attempt is the suffix of the cookie that a sign-in elsewhere comes back with.
const attempt = "_elsewhere"

// beginElsewhere sends the browser to an issuer. It is a link and no form, because
// our policy lets no form lead to another site; so it must come from a page of ours.
func (p *Portal) beginElsewhere(ctx context.Context, v api.Visit) (api.Reply, error) {
	switch v.Request.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none", "":
	default:
		return lead("/sign-in"), nil
	}
	address, cookie, err := p.flows.BeginElsewhere(ctx, v.Who, v.Request.PathValue("issuer"))
	switch {
	case err != nil && !v.Who.Session.IsZero():
		return p.account(ctx, v, "elsewhere", err)
	case err != nil:
		return p.answer(v, p.entrance("", ""), "signin", err)
	}
	return lead(address, p.cookie(attempt, cookie, oidc.AttemptLife)), nil
}

func (p *Portal) finishElsewhere(ctx context.Context, v api.Visit) (api.Reply, error) {
	kept, err := v.Request.Cookie(api.CookieName(p.secure) + attempt)
	if err != nil {
		kept = &http.Cookie{}
	}
	q := v.Request.URL.Query()
	got := oidc.Answer{Name: v.Request.PathValue("issuer"), State: q.Get("state"), Code: q.Get("code"), Issuer: q.Get("iss"), Error: q.Get("error")}
	in, linked, err := p.flows.FinishElsewhere(ctx, kept.Value, got, v.From)
	switch {
	case err != nil && !v.Who.Session.IsZero():
		return p.account(ctx, v, "elsewhere", err)
	case err != nil:
		s := p.entrance("", "")
		s.cookies = []http.Cookie{p.gone(attempt)}
		return p.answer(v, s, "signin", err)
	case linked:
		return lead("/account?done=linked", p.gone(attempt)), nil
	}
	return p.welcome(in, "/account", p.gone(attempt)), nil
}

func (p *Portal) signUpPage(_ context.Context, v api.Visit) (api.Reply, error) {
	return p.show(v, screen{view: "signup", Title: "Sign up"}), nil
}

func (p *Portal) signUp(ctx context.Context, v api.Visit) (api.Reply, error) {
	form := v.Request.PostForm
	s := screen{view: "signup", Title: "Sign up"}
	if err := p.flows.Register(ctx, form.Get("email"), form.Get("name"), v.From); err != nil {
		return p.answer(v, s, "signup", err)
	}
	return p.show(v, mailed("Look at your mail", "If "+form.Get("email")+" can have an account here, a mail with a link is on its way to it. The link is good for a day.")), nil
}

// mailed is the page after a mail was asked for: the same, whoever has the address.
func mailed(title, text string) screen { return screen{view: "mailed", Title: title, Data: text} }

// tokenOf returns the secret of a link, from the address or the form.
func tokenOf(v api.Visit) string {
	if t := v.Request.PostForm.Get("token"); t != "" {
		return t
	}
	return v.Request.URL.Query().Get("token")
}

func withToken(path, token string) string {
	return path + "?" + url.Values{"token": {token}}.Encode()
}
