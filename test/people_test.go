package test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/stage"
)

// visitor is a person's browser.
type visitor struct {
	s    *server
	http *http.Client
}

func (s *server) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &visitor{s, &http.Client{Jar: jar}}
}

// send opens a page, or posts a form: names and values in turn. It has to work.
func (v *visitor) send(method, address string, pairs ...string) string {
	v.s.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	if strings.HasPrefix(address, "/") {
		address = "http://" + v.s.listen + address
	}
	req, err := http.NewRequestWithContext(v.s.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		v.s.t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.http.Do(req)
	if err != nil {
		v.s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		v.s.t.Fatalf("%s %s: %s %v\n%s", method, address, resp.Status, err, page)
	}
	return string(page)
}

var letterLink = regexp.MustCompile(`http\S+\?token=(gc_link_[0-9A-Za-z]+)`)

// letter returns the link in the newest mail to somebody, as the operator reads it.
func (s *server) letter(to string) (address, token string) {
	s.t.Helper()
	var mails []corp.Mail
	if err := json.Unmarshal([]byte(s.must("--context", "local", "mail", "list", "-o", "json")), &mails); err != nil {
		s.t.Fatal(err)
	}
	for _, m := range mails {
		if m.To != to {
			continue
		}
		found := letterLink.FindStringSubmatch(s.must("--context", "local", "mail", "show", m.ID.String()))
		if found == nil {
			s.t.Fatalf("the mail %q has no link", m.Subject)
		}
		return found[0], found[1]
	}
	s.t.Fatalf("no mail to %s", to)
	return "", ""
}

// login runs corp login, and says yes with the browser.
func (s *server) login(v *visitor, args ...string) result {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), binary, append([]string{"--data", s.data, "login", "http://" + s.listen}, args...)...)
	cmd.Env = cleanEnv(s.data)
	var out, errs stage.Log
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	page := regexp.MustCompile(`http\S+/device\?code=(\S+)`)
	wait(s.t, "an address to open", func() bool { return page.MatchString(errs.String()) })
	found := page.FindStringSubmatch(errs.String())
	shown := v.send(http.MethodGet, found[0])
	if !strings.Contains(shown, found[1]) || !strings.Contains(shown, "127.0.0.1") {
		s.t.Errorf("the page does not say who asks: %s", shown)
	}
	fields := []string{"code", found[1], "answer", "yes"}
	if ws := regexp.MustCompile(`<option value="([^"]+)"`).FindStringSubmatch(shown); ws != nil {
		fields = append(fields, "workspace", ws[1])
	}
	v.send(http.MethodPost, "/device", fields...)
	_ = cmd.Wait() // how it ended shows in the code
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func (s *server) says(text string, args ...string) string {
	s.t.Helper()
	out := s.must(args...)
	if !strings.Contains(out, text) {
		s.t.Errorf("corp %v does not say %q:\n%s", args, text, out)
	}
	return out
}

func TestSomebodySignsUpInvitesAColleagueAndMakesAKey(t *testing.T) {
	t.Parallel()
	s := start(t, "--sign-up", "open", "--no-runner")
	ada := s.visitor()
	ada.send(http.MethodPost, "/sign-up", "email", "ada@example.com", "name", "Ada")
	address, token := s.letter("ada@example.com")
	ada.send(http.MethodGet, address)
	ada.send(http.MethodPost, "/verify", "token", token, "name", "Ada", "password", "tulip-anvil-marsh")

	if r := s.login(ada); r.code != 0 || !strings.Contains(r.out, "as Ada") {
		t.Fatalf("corp login: exit %d\n%s%s", r.code, r.out, r.err)
	}
	kept := filepath.Join(s.data, ".config", "corp", "contexts.json")
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the contexts: %v %v", info, err)
	}
	s.says("none: you are in no workspace", "whoami")
	s.says("You own it", "workspace", "create", "engines")
	s.says("engines", "whoami")
	s.says("session", "whoami")
	s.says("yes", "workspace", "list")
	s.says("Ada", "member", "list")

	s.says("on its way", "invite", "grace@example.com", "--role", "admin")
	s.says("grace@example.com", "invitation", "list")
	grace := s.visitor()
	address, token = s.letter("grace@example.com")
	if page := grace.send(http.MethodGet, address); !strings.Contains(page, "engines") || !strings.Contains(page, "admin") {
		t.Errorf("the invitation does not say to what: %s", page)
	}
	grace.send(http.MethodPost, "/invitation/new", "token", token, "name", "Grace", "password", "copper-window-seven")
	s.says("Grace", "member", "list")
	if r := s.login(grace, "--context", "grace"); r.code != 0 {
		t.Fatalf("corp login: exit %d\n%s%s", r.code, r.out, r.err)
	}
	s.says("Grace", "whoami")
	s.says("Ada", "--context", s.listen, "whoami")
	s.says("is the current one", "context", "use", s.listen)

	var made struct {
		Key    string      `json:"key"`
		APIKey corp.APIKey `json:"api_key"`
	}
	out := s.must("key", "create", "ci", "--service", "--scope", "task.read,workspace.read", "-o", "json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	if r := s.corp("--key", made.Key, "--server", "http://"+s.listen, "whoami"); r.code != 0 || !strings.Contains(r.out, "ci") {
		t.Errorf("with the key: exit %d\n%s%s", r.code, r.out, r.err)
	}
	if r := s.corp("--key", made.Key, "--server", "http://"+s.listen, "agent", "list"); r.code == 0 || !strings.Contains(r.err, "narrowed") {
		t.Errorf("beyond its scope: exit %d\n%s%s", r.code, r.out, r.err)
	}
	s.says("ends in 1h0m0s", "key", "rotate", made.APIKey.ID.String(), "--overlap", "1h")
	s.says("until 2", "key", "list")
	s.says("revoked", "key", "revoke", made.APIKey.ID.String())
	if r := s.corp("--key", made.Key, "--server", "http://"+s.listen, "whoami"); r.code == 0 {
		t.Errorf("a revoked key: %s", r.out)
	}
	s.says("task.read,workspace.read", "key", "list")
	if r := s.login(grace); r.code != 0 || !strings.Contains(r.err, "is ended; \"corp login --context NAME\" keeps both") {
		t.Errorf("a second login under one name: exit %d\n%s%s", r.code, r.out, r.err)
	}
	if page := ada.send(http.MethodGet, "/account"); strings.Contains(page, "corp/") {
		t.Errorf("the command line's session that was replaced is still open: %s", page)
	}
	s.says("Signed out", "logout")
	if r := s.corp("--context", s.listen, "whoami"); r.code == 0 || !strings.Contains(r.err, "--context") && !strings.Contains(r.err, "no context") {
		t.Errorf("after signing out: exit %d\n%s%s", r.code, r.out, r.err)
	}
}

func TestWhatSomebodySignsInWithIsSentToNoOtherServer(t *testing.T) {
	t.Parallel()
	s := start(t, "--no-runner")
	key := strings.TrimSpace(s.must("key", "create", "mine", "--role", "viewer"))
	key = key[strings.LastIndex(key, "\n")+1:]
	login := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "login", "http://"+s.listen, "--key", "-", "--context", "mine")
	login.Env, login.Stdin = cleanEnv(s.data), strings.NewReader(key+"\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("corp login --key -: %v\n%s", err, out)
	}
	s.says("viewer", "whoami")
	other := freeAddress(t)
	if r := s.corp("--server", "http://"+other, "whoami"); r.code == 0 || !strings.Contains(r.err, "There is no key for http://"+other) {
		t.Errorf("another server: exit %d\n%s%s", r.code, r.out, r.err)
	}
	s.says("owner", "--context", "local", "whoami")
	if r := s.corp("--context", "nobody", "whoami"); r.code != 2 || !strings.Contains(r.err, "There is no context") {
		t.Errorf("an unknown context: exit %d\n%s%s", r.code, r.out, r.err)
	}
	s.says("mine", "context", "list")
	s.says("mine", "context", "show")
	s.says("is forgotten", "context", "remove", "mine")
	s.says("owner", "whoami")
}
