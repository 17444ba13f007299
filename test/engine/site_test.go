//go:build engine || soak

package engine

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/postgres/schema"
	"github.com/genericcorp/corp/seal"
	"github.com/genericcorp/corp/stage"
)

// site is an installation: a PostgreSQL, servers on it, the oracle, and a key
// for runners of the pool.
type site struct {
	t       testing.TB
	pg      *embedded.Server
	pgDir   string
	servers []*server
	oracle  *oracle
	ring    *seal.Ring
	poolKey string
	blobs   string
}

// plan of a site: what differs from two servers of the built binary.
type plan struct {
	servers int
	args    []string
	env     []string
	binary  string
	noAudit bool // for latencies: the oracle costs time

	noServers bool
}

// newSite starts an installation; it is gone when the test ends.
func newSite(t testing.TB, p plan) *site {
	t.Helper()
	s := &site{t: t, pgDir: folder(t), blobs: folder(t)}
	var err error
	s.pg, err = embedded.Start(t.Context(), embedded.Config{
		Dir: s.pgDir, Cache: filepath.Join(shop, "pg"), Durable: true,
		Settings: map[string]string{"max_connections": "200", "dynamic_shared_memory_type": "mmap", "shared_buffers": "64MB", "max_wal_size": "256MB"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.pg.Stop(context.Background()); err != nil {
			t.Logf("PostgreSQL did not stop cleanly: %v", err)
		}
	})
	if err := schema.Prepare(t.Context(), s.pg.SuperURL(embedded.Database), nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := schema.Migrate(t.Context(), s.pg.OwnerURL()); err != nil {
		t.Fatal(err)
	}
	s.oracle = newOracle(t, s.pg.SuperURL(embedded.Database))
	// The tenants ask as often as they can; how often their plans let them is not tried here.
	s.oracle.exec(`UPDATE plans SET requests_per_hour = 0, tasks_per_day = 0, streams = 0, messages_per_second = 0`)
	if !p.noAudit {
		s.oracle.exec(auditSQL)
	}
	if p.binary == "" {
		p.binary = binary
	}
	if p.noServers {
		return s
	}
	for i := range max(p.servers, 1) {
		s.addServer(fmt.Sprintf("server%d", i+1), p)
	}
	s.makePoolKey()
	return s
}

// addServer starts one more server on the site's database.
func (s *site) addServer(name string, p plan) *server {
	s.t.Helper()
	data := folder(s.t)
	secret := filepath.Join(data, "secret.key")
	if len(s.servers) > 0 {
		b, err := os.ReadFile(filepath.Join(s.servers[0].data, "secret.key"))
		if err == nil {
			err = os.WriteFile(secret, b, 0o600)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	ring, err := seal.Load(secret) // the first makes it
	if err == nil {
		err = os.Symlink(s.blobs, filepath.Join(data, "blobs"))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.ring = ring
	socket := filepath.Join(s.socketDir(), ".s.PGSQL.5432")
	v := &server{
		t: s.t, name: name, binary: p.binary, data: data, listen: freeAddress(s.t), gateway: freeAddress(s.t), args: p.args, log: new(stage.Log),
		cable: newCable(s.t, socket), ear: newCable(s.t, socket),
	}
	v.gate = newGate(s.t, v.listen)
	v.env = append([]string{
		"CORP_POSTGRES_URL=" + through(v.cable, embedded.AppRole), "CORP_POSTGRES_SYSTEM_URL=" + through(v.cable, embedded.SystemRole),
		"CORP_POSTGRES_DIRECT_URL=" + through(v.ear, embedded.AppRole),
	}, p.env...)
	s.t.Cleanup(func() {
		v.kill(syscall.SIGKILL)
		if s.t.Failed() {
			s.t.Logf("%s said:\n%s", name, tail(v.log.String(), 6000))
		}
	})
	s.servers = append(s.servers, v)
	v.up()
	return v
}

func (s *site) socketDir() string {
	u, err := url.Parse(s.pg.SuperURL(embedded.Database))
	if err != nil {
		s.t.Fatal(err)
	}
	return u.Query().Get("host")
}

func through(c *cable, role string) string {
	return "postgres://" + role + "@127.0.0.1:" + c.port() + "/" + embedded.Database + "?sslmode=disable"
}

// makePoolKey makes a credential of runners that serve every workspace, as
// "corp up" does for its own.
func (s *site) makePoolKey() {
	s.t.Helper()
	s.poolKey = corp.NewSecret(corp.KeyPrefixRunner)
	s.oracle.exec(`INSERT INTO operator_keys (id, name, role, prefix, hash, created_by) VALUES ($1, 'pool of the suite', 'runner', $2, $3, 'system')`,
		corp.NewID[corp.OperatorID](), corp.ShownSecret(s.poolKey), s.ring.Hash(s.poolKey))
}

// urls are the addresses of all servers.
func (s *site) urls() []string {
	var all []string
	for _, v := range s.servers {
		all = append(all, v.url())
	}
	return all
}

// leader returns the server that leads, and one that does not (nil with one server).
func (s *site) leader() (leader, follower *server) {
	s.t.Helper()
	until(s.t, patience, "a server to lead", func() bool {
		leader, follower = nil, nil
		for _, address := range ask[struct{ A string }](s.oracle, `SELECT address FROM leaders WHERE expires_at > clock_timestamp()`) {
			for _, v := range s.servers {
				if address.A == v.listen || address.A == "http://"+v.listen {
					leader = v
				} else {
					follower = v
				}
			}
		}
		return leader != nil
	})
	return leader, follower
}

// killPostgres ends the postmaster as kill -9 does, and waits for the next one.
func (s *site) killPostgres() {
	s.t.Helper()
	before := s.pg.Restarts()
	if pid := s.pg.Pid(); pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
	}
	until(s.t, patience, "PostgreSQL to run again", func() bool { return s.pg.Restarts() > before && s.pg.Pid() != 0 })
}

// killBackends ends every connection of the product's roles, and returns how many.
func (s *site) killBackends() int {
	s.t.Helper()
	return value[int](s.oracle, `
		SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE usename IN ('corp_app', 'corp_system')`)
}

// tenant is a workspace with its owner's key, at every server.
type tenant struct {
	site *site
	corp.Workspace
	key     string
	clients []*client.Client // one a server
}

// tenant makes a workspace on a plan.
func (s *site) tenant(plan string) *tenant {
	s.t.Helper()
	operator := client.New("http://"+s.servers[0].listen, s.servers[0].context().Operator, client.Options{Patience: patience})
	made, err := operator.CreateWorkspace(s.t.Context(), client.WorkspaceRequest{Slug: "t-" + randomName(), Plan: plan})
	if err != nil {
		s.t.Fatal(err)
	}
	w := &tenant{site: s, Workspace: made.Workspace, key: made.Key}
	for _, v := range s.servers {
		w.clients = append(w.clients, client.New(v.url(), made.Key, client.Options{}))
	}
	return w
}

// runnerKey makes a runner's key of the workspace.
func (w *tenant) runnerKey() string {
	w.site.t.Helper()
	made, err := w.clients[0].CreateAPIKey(w.site.t.Context(), client.APIKeyRequest{Name: "runner-" + randomName(), Role: corp.RoleRunner})
	if err != nil {
		w.site.t.Fatal(err)
	}
	return made.Key
}

// runnerURLs are the addresses that the product's own runner is told.
func (s *site) runnerURLs() []string { return s.urls() }
