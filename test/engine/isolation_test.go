//go:build engine

package engine

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Invariant 21: a lease, a runner, a task of another workspace is worth nothing,
// whoever offers it.
func TestAnotherWorkspacesLeaseAndRunnerAreWorthNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	mine, theirs := s.tenant("unlimited"), s.tenant("unlimited")
	r := hold(t, 21, "foreign lease, runner, task, key", "404 / 409 / 403, nothing changed")
	seenMine, seenTheirs := newDiary(), newDiary()
	s.crew("mine", mine.runnerKey(), 4, seenMine)
	theirKey := theirs.runnerKey()
	s.crew("theirs", theirKey, 4, seenTheirs)
	ids := mine.submitMany(3, work("ms=600000"))
	s.awaitRunning(ids...)
	theirs.submitMany(3, work("ms=1"))
	z := zombie{s, theirKey}
	for _, id := range ids {
		lease, before := seenMine.await(t, id, "acked").Lease, s.rows(id)
		accepted := z.try(lease)
		r.must(len(accepted) == 0, "another workspace's lease was accepted: %v", accepted)
		r.must(s.rows(id) == before, "task %s was changed by another workspace's runner", id)
		for _, c := range theirs.clients {
			for what, err := range s.touch(c, id, lease.RunID) {
				r.must(corp.KindOf(err) == corp.KindNotFound, "%s of another workspace: %v", what, err)
			}
		}
	}
	s.foreignRunner(r, mine, theirKey)
	for _, seen := range seenTheirs.all("offer") {
		r.must(seen.Task != ids[0] && seen.Task != ids[1] && seen.Task != ids[2], "task %s was offered to another workspace's runner", seen.Task)
	}
	runner := client.New(s.servers[0].url(), theirKey, client.Options{})
	_, err := runner.SubmitTask(t.Context(), work("ms=1"), "")
	r.must(corp.KindOf(err) == corp.KindForbidden, "a runner's key submitted a task: %v", err)
	r.saw("0 let through")
	s.cancelAll(mine)
}

// touch does what can be done to a task and a run by their names.
func (s *site) touch(c *client.Client, task corp.TaskID, run corp.RunID) map[string]error {
	ctx, did := s.t.Context(), map[string]error{}
	_, did["reading the task"] = c.Task(ctx, task)
	_, did["cancelling the task"] = c.CancelTask(ctx, task)
	_, did["retrying the task"] = c.RetryTask(ctx, task)
	_, did["reading the run"] = c.Run(ctx, run)
	_, did["reading the entries"] = c.Entries(ctx, run, -1, 1)
	patch, err := c.Patch(ctx, run)
	if err == nil {
		_ = patch.Close()
	}
	did["reading the patch"] = err
	return did
}

// foreignRunner polls and beats in the name of a runner of another key.
func (s *site) foreignRunner(r *row, mine *tenant, theirKey string) {
	s.t.Helper()
	type one struct{ ID corp.RunnerID }
	for _, found := range ask[one](s.oracle, `SELECT id FROM runners WHERE workspace_id = $1`, mine.ID) {
		for _, v := range s.servers {
			c := client.New(v.url(), theirKey, client.Options{})
			_, err := c.Poll(s.t.Context(), found.ID, corp.Poll{Seq: 1, Free: 1, WaitMS: 10})
			r.must(corp.KindOf(err) == corp.KindNotFound, "polled at %s in the name of another's runner: %v", v.name, err)
			_, err = c.Beat(s.t.Context(), found.ID, corp.Beat{Free: 1})
			r.must(corp.KindOf(err) == corp.KindNotFound, "beat at %s in the name of another's runner: %v", v.name, err)
		}
	}
}

// realRunner starts "corp runner start", the product's own.
func (s *site) realRunner(name, key string, slots int) *hand {
	s.t.Helper()
	h := &hand{t: s.t, name: name, ended: make(chan struct{})}
	home := folder(s.t)
	h.cmd = exec.Command(s.servers[0].binary, "runner", "start", "--server", strings.Join(s.runnerURLs(), ","), "--name", name,
		"--slots", strconv.Itoa(slots), "--work", filepath.Join(home, "work"), "--log-level", "warn")
	h.cmd.Env = append(cleanEnv(home), "CORP_KEY="+key)
	h.cmd.Stderr = os.Stderr
	if err := spawn(h.cmd); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = h.cmd.Wait(); close(h.ended) }()
	s.t.Cleanup(h.kill)
	return h
}

var socketLink = regexp.MustCompile(`^socket:\[(\d+)\]$`)

// Invariant 21: a runner's process speaks HTTP to the servers, and to nobody else;
// it knows no connection string.
func TestARunnersProcessHasNothingButHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	r := hold(t, 21, "a runner's sockets and environment", "the servers' API, no database")
	h := s.realRunner("plain", s.poolKey, 2)
	until(t, patience, "the runner to be known", func() bool {
		return value[int](s.oracle, `SELECT count(*)::int FROM pool_runners WHERE name = 'plain'`) == 1
	})
	allowed := map[string]bool{}
	for _, u := range s.urls() {
		allowed[strings.TrimPrefix(u, "http://")] = true
	}
	for range 20 {
		for _, remote := range h.sockets() {
			r.must(allowed[remote], "the runner's process has a socket to %s", remote)
		}
		window(t, 100*time.Millisecond)
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", h.cmd.Process.Pid))
	r.must(err == nil && !strings.Contains(string(env), "POSTGRES"), "the runner's environment: %v", err)
	r.saw("API only")
}

// sockets returns the remote addresses of a process's TCP sockets, and the path
// of its unix sockets.
func (h *hand) sockets() (remotes []string) {
	h.t.Helper()
	dir := fmt.Sprintf("/proc/%d", h.cmd.Process.Pid)
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		h.t.Fatal(err)
	}
	inodes := map[string]bool{}
	for _, fd := range fds {
		link, _ := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if m := socketLink.FindStringSubmatch(link); m != nil {
			inodes[m[1]] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, _ := os.ReadFile(dir + "/net/" + table)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && inodes[f[9]] && f[3] == "01" {
				remotes = append(remotes, hexAddress(f[2]))
			}
		}
	}
	text, _ := os.ReadFile(dir + "/net/unix")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 7 && inodes[f[6]] {
			remotes = append(remotes, f[7])
		}
	}
	return remotes
}

// hexAddress reads an address of /proc/net/tcp: a little-endian IPv4 and a port.
func hexAddress(text string) string {
	host, port, _ := strings.Cut(text, ":")
	ip, _ := strconv.ParseUint(host, 16, 32)
	p, _ := strconv.ParseUint(port, 16, 16)
	return net.JoinHostPort(fmt.Sprintf("%d.%d.%d.%d", ip&255, ip>>8&255, ip>>16&255, ip>>24&255), strconv.FormatUint(p, 10))
}
