package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/bench/site"
	"github.com/genericcorp/corp/client"
)

// way is one kind of request.
type way struct {
	name, url string
	header    [2]string // what it proves itself with
	afar      bool      // from addresses that have a limit
	pid       int       // of the server
}

const plan = "bench" // of the workspace that has limits; no server knows it yet

func build(ctx context.Context, s *site.Site) (ways []way, stop func(), err error) {
	stop = func() {}
	port, err := site.FreePort(ctx)
	if err != nil {
		return nil, stop, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	bare := exec.Command(os.Args[0], "-bare", address) //nolint:noctx // ended by stop
	if err := bare.Start(); err != nil {
		return nil, stop, err
	}
	stop = func() { _, _ = bare.Process.Kill(), bare.Wait() }
	if err := site.Reach(ctx, address); err != nil {
		return nil, stop, err
	}
	ways = []way{
		{name: "bare handler of net/http", url: "http://" + address, pid: bare.Process.Pid},
		{name: "nothing asked", url: s.URL + "/health", pid: s.Pid()},
	}
	for _, limited := range []bool{false, true} {
		p, err := enter(ctx, s, limited)
		if err != nil {
			return nil, stop, err
		}
		besides := ""
		if limited {
			besides = ", and six limits"
		}
		for _, by := range []struct {
			name   string
			header [2]string
		}{
			{"API key", [2]string{"Authorization", "Bearer " + p.key}}, {"access token", [2]string{"Authorization", "Bearer " + p.access}}, {"cookie", [2]string{"Cookie", p.cookie}},
		} {
			ways = append(ways, way{by.name + besides, s.URL + "/v1/whoami", by.header, limited, s.Pid()})
		}
	}
	return ways, stop, nil
}

// proofs are what one person signs in with, by all three ways, to a workspace of
// their own.
type proofs struct{ key, access, cookie string }

func enter(ctx context.Context, s *site.Site, limited bool) (p proofs, err error) {
	slug := fmt.Sprintf("bench-%v", limited)
	email := slug + "@example.com"
	person, err := s.Person(ctx, email)
	if err != nil {
		return p, err
	}
	ws, err := person.FoundWorkspace(ctx, client.MyWorkspaceRequest{Slug: slug})
	if err != nil {
		return p, err
	}
	if limited {
		if err := promise(ctx, s, ws.ID); err != nil {
			return p, err
		}
	}
	access, err := person.WorkIn(ctx, ws.ID)
	if err != nil {
		return p, err
	}
	p.access = access.Access
	made, err := client.New(s.URL, p.access, client.Options{}).CreateAPIKey(ctx, client.APIKeyRequest{Name: "bench", Role: corp.RoleMember})
	if err != nil {
		return p, err
	}
	p.key = made.Key
	p.cookie, err = browse(ctx, s, email, ws.ID)
	return p, err
}

// promise puts a workspace on a plan whose rate it cannot reach.
func promise(ctx context.Context, s *site.Site, ws corp.WorkspaceID) error {
	super, err := s.Super(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = super.Close(ctx) }()
	if _, err := super.Exec(ctx, `INSERT INTO plans (name, weight, concurrency, requests_per_hour, request_burst) VALUES ($1, 1, 1, 1000000000, 1000000)`, plan); err != nil {
		return err
	}
	_, err = super.Exec(ctx, `UPDATE workspaces SET plan = $2 WHERE workspace_id = $1`, ws.UUID(), plan)
	return err
}

// browse signs in as a browser does.
func browse(ctx context.Context, s *site.Site, email string, ws corp.WorkspaceID) (cookie string, err error) {
	for _, step := range []struct{ method, path, body string }{
		{http.MethodPost, "/v1/auth/login", fmt.Sprintf(`{"email":%q,"password":%q,"session":"browser"}`, email, site.Password)},
		{http.MethodPut, "/v1/me/workspace", fmt.Sprintf(`{"workspace_id":%q}`, ws)},
	} {
		req, err := http.NewRequestWithContext(ctx, step.method, s.URL+step.path, strings.NewReader(step.body))
		if err != nil {
			return "", err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", s.URL)
		req.Header.Set("Cookie", cookie)
		resp, err := web.Do(req)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode/100 != 2 {
			return "", fmt.Errorf("%s: status %d: %s %w", step.path, resp.StatusCode, text, err)
		}
		for _, c := range resp.Cookies() {
			cookie = c.Name + "=" + c.Value
		}
	}
	return cookie, nil
}

const connections = 4

var web = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}

// load makes n requests and returns how long each took.
func (w way) load(ctx context.Context, n int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	failed := make(chan error, connections)
	var all sync.WaitGroup
	for worker := range connections {
		all.Go(func() {
			for i := worker; i < n; i += connections {
				begun := time.Now()
				if err := w.ask(ctx, i); err != nil {
					failed <- err
					return
				}
				took[i] = time.Since(begun)
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
		return took, nil
	}
}

func (w way) ask(ctx context.Context, i int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return err
	}
	if w.header[0] != "" {
		req.Header.Set(w.header[0], w.header[1])
	}
	if w.afar { // many: one has a limit of its own
		req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.18.%d.%d", i>>8&15, i&255))
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	limits := len(resp.Header.Values("RateLimit"))
	if err == nil && (resp.StatusCode != http.StatusOK || w.afar != (limits > 0)) {
		err = fmt.Errorf("status %d, %d headers of limits", resp.StatusCode, limits)
	}
	return err
}

func serveBare(ctx context.Context, address string) error {
	answer := []byte(`{"workspace_id":"ws_01m8000000e00000000000000000","actor":"user_01m8000000e00000000000000000","role":"member","name":"Bench","version":"bench"}` + "\n")
	server := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return server.ListenAndServe()
}
