package portal

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
)

//go:embed pages
var files embed.FS

// views are the templates, by name.
type views map[string]*template.Template

func parseViews() (views, error) {
	found, err := files.ReadDir("pages")
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	v := views{}
	for _, f := range found {
		name, is := strings.CutSuffix(f.Name(), ".html")
		if !is || name == "layout" {
			continue
		}
		t, err := template.New("layout.html").Funcs(template.FuncMap{"day": day}).ParseFS(files, "pages/layout.html", "pages/"+f.Name())
		if err != nil {
			return nil, fmt.Errorf("read the page %s: %w", name, err)
		}
		v[name] = t
	}
	return v, nil
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// screen is what a page shows.
type screen struct {
	view   string
	status int // 0 is 200

	Title    string
	SignedIn bool
	Notice   string
	Error    *api.Told
	Form     string     // the form that was sent, when a page has several
	Typed    url.Values // what was typed, but for secrets
	Data     any        // of this page
	cookies  []http.Cookie
}

// secrets are the fields that no page shows again.
var secrets = []string{"password", "new", "code", "factor"}

// with adds an error, and what was typed in the form that it is about.
func (s screen) with(v api.Visit, form string, err error) screen {
	if err == nil {
		return s
	}
	told := v.Explain(err)
	s.Error, s.status, s.Form = &told, told.Status, form
	s.Typed = url.Values{}
	for name, values := range v.Request.PostForm {
		if !slices.Contains(secrets, name) {
			s.Typed[name] = values
		}
	}
	return s
}

// input is one field of a form.
type input struct {
	ID, Name, Label, Type, Complete, Value, Help, Wrong, Described string
	Needed                                                         bool
}

// Field describes a field for the template "input". A label that ends with a star
// is of a field that must not be empty.
func (s screen) Field(form, name, label, kind, complete, help string) input {
	i := input{ID: form + "-" + name, Name: name, Type: kind, Complete: complete, Help: help}
	i.Label, i.Needed = strings.CutSuffix(label, "*")
	var described []string
	if help != "" {
		described = append(described, i.ID+"-help")
	}
	if s.Form == form {
		i.Value = s.Typed.Get(name)
		if s.Error != nil && s.Error.Field == name {
			i.Wrong = s.Error.Message
			described = append(described, i.ID+"-error")
		}
	}
	i.Described = strings.Join(described, " ")
	return i
}

// Prefilled is Field with a value until something was typed.
func (s screen) Prefilled(form, name, label, kind, complete, help, value string) input {
	i := s.Field(form, name, label, kind, complete, help)
	if s.Form != form {
		i.Value = value
	}
	return i
}

// show draws a screen, whole before anything is sent.
func (p *Portal) show(v api.Visit, s screen) api.Reply {
	s.SignedIn = !v.Who.Session.IsZero()
	var page bytes.Buffer
	if err := p.views[s.view].Execute(&page, s); err != nil {
		panic(fmt.Errorf("draw the page %s: %w", s.view, err)) // the API answers panics
	}
	return func(w http.ResponseWriter) {
		for _, c := range s.cookies {
			http.SetCookie(w, &c)
		}
		if s.Error != nil && s.Error.RetryAfter != "" {
			w.Header().Set("Retry-After", s.Error.RetryAfter)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(max(s.status, http.StatusOK))
		_, _ = w.Write(page.Bytes()) // who is gone needs no answer
	}
}

// answer shows a screen, with the error if there is one.
func (p *Portal) answer(v api.Visit, s screen, form string, err error) (api.Reply, error) {
	return p.show(v, s.with(v, form, err)), err
}

// lead sends the browser to another page of ours, by GET.
func lead(to string, cookies ...http.Cookie) api.Reply {
	return func(w http.ResponseWriter) {
		for _, c := range cookies {
			http.SetCookie(w, &c)
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusSeeOther)
	}
}

// cookie is one that no script reads and no form of another site brings along. An
// age below zero takes it away.
func (p *Portal) cookie(suffix, value string, age time.Duration) http.Cookie {
	seconds := int(age.Seconds())
	return http.Cookie{Name: api.CookieName(p.secure) + suffix, Value: value, Path: "/", MaxAge: seconds, Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode} //nolint:gosec // G124: a laptop has no TLS
}

// gone takes a cookie away.
func (p *Portal) gone(suffix string) http.Cookie { return p.cookie(suffix, "", -time.Second) }

func (p *Portal) style(context.Context, api.Visit) (api.Reply, error) {
	css, err := files.ReadFile("pages/portal.css")
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(css) // who is gone needs no answer
	}, err
}

// notices are what the page says that a form leads to, by the name in its address.
var notices = map[string]string{
	"name":     "Your name is changed.",
	"password": "Your password is changed. You are signed out everywhere else.",
	"email":    "A mail is on its way to the new address. Open its link here, where you are signed in.",
	"address":  "Your address is changed.",
	"session":  "That session is signed out.",
	"switched": "You work in another workspace now.",
	"left":     "You have left the workspace.",
	"removed":  "The workspace is out of use, and is deleted in a week. Until then you can restore it here.",
	"restored": "The workspace is in use again.",
	"joined":   "You are a member of the workspace now.",
	"factor":   "The second factor is off.",
	"linked":   "That account signs you in from now on.",
	"unlinked": "That account does not sign you in any more.",
	"out":      "You are signed out.",
	"reset":    "Your new password is set. Sign in with it.",
	"deleted":  "Your account is going to be deleted in a week. Signing in before that takes it back.",
	"back":     "Your account is not going to be deleted: signing in took that back.",
}

func notice(v api.Visit) string { return notices[v.Request.URL.Query().Get("done")] }

// pagesToLeadTo are those that signing in may go on to.
var pagesToLeadTo = []string{"/account", "/device", "/invitation", "/email"}

// goOn returns where a form asked to go on to, if that is a page of ours.
func goOn(asked string) string {
	u, err := url.Parse(asked)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !slices.Contains(pagesToLeadTo, u.Path) || strings.ContainsAny(asked, "\\\r\n\t") {
		return "/account"
	}
	return u.Path + query(u)
}

func query(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.Query().Encode()
}

func signInFor(page string) string {
	return "/sign-in?" + url.Values{"next": {page}}.Encode()
}

// field moves an error to the form's name of what it is about.
func field(err error, from, to string) error {
	if e, ok := errors.AsType[*corp.Error](err); ok && e.Field == from {
		moved := *e
		moved.Field, moved.Err = to, err
		return &moved
	}
	return err
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*corp.Error](err); ok {
		return e.Code
	}
	return ""
}
