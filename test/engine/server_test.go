//go:build engine || soak

package engine

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/stage"
)

// times are those of the product, scaled down; the bounds are scaled with them.
const (
	ttl       = 3 * time.Second
	heartbeat = 500 * time.Millisecond
	ackWithin = 2 * time.Second
	margin    = time.Second
	pollWait  = 2 * time.Second
	leaderTTL = 2 * time.Second
	// sweep is how often the product looks by itself.
	sweep = time.Second
)

func timeFlags() []string {
	return []string{
		"--lease-ttl", ttl.String(), "--heartbeat", heartbeat.String(), "--ack-within", ackWithin.String(),
		"--lease-margin", margin.String(), "--poll-wait", pollWait.String(), "--leader-ttl", leaderTTL.String(),
	}
}

// server is a "corp up" with addresses and a data folder that it keeps when it
// is started again.
type server struct {
	t       testing.TB
	name    string
	binary  string
	data    string
	listen  string
	gateway string
	args    []string
	env     []string
	gate    *gate  // before its API
	cable   *cable // to PostgreSQL, for queries
	ear     *cable // to PostgreSQL, for notices

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	log   *stage.Log
}

// url is where callers reach it: through its gate.
func (s *server) url() string { return s.gate.url }

// up starts the process and waits until it answers.
func (s *server) up() {
	s.t.Helper()
	s.launch()
	s.ready()
}

// launch starts the process.
func (s *server) launch() {
	s.t.Helper()
	args := append([]string{"up", "--data", s.data, "--listen", s.listen, "--gateway-listen", s.gateway, "--no-runner", "--log-level", "warn"}, timeFlags()...)
	cmd := exec.Command(s.binary, append(args, s.args...)...)
	cmd.Env = append(cleanEnv(s.data), s.env...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := spawn(cmd); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd, s.ended = cmd, ended
}

// ready waits until the server answers that it can work.
func (s *server) ready() {
	s.t.Helper()
	_, ended := s.process()
	direct := client.New("http://"+s.listen, "", client.Options{})
	until(s.t, patience, s.name+" to be ready", func() bool {
		select {
		case <-ended:
			s.t.Fatalf("%s ended:\n%s", s.name, tail(s.log.String(), 4000))
		default:
		}
		ready, err := direct.Ready(s.t.Context())
		return err == nil && ready.Ready
	})
}

func (s *server) process() (*exec.Cmd, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd, s.ended
}

// signal sends the process a signal.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	cmd, _ := s.process()
	if cmd == nil {
		return
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
}

// kill ends the process with a signal and waits until it is gone.
func (s *server) kill(sig syscall.Signal) {
	s.t.Helper()
	_, ended := s.process()
	if ended == nil {
		return
	}
	s.signal(sig)
	if sig != syscall.SIGKILL {
		s.signal(syscall.SIGCONT)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		s.signal(syscall.SIGKILL)
		s.t.Errorf("%s did not end on %v", s.name, sig)
	}
}

// context is what the server leaves for the command line of its machine.
type localContext struct {
	Server   string `json:"server"`
	Key      string `json:"key"`
	Operator string `json:"operator_key"`
}

func (s *server) context() (l localContext) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.data, "context.json"))
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// cleanEnv has nothing of a vendor and nothing of the user in it.
func cleanEnv(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir(), "LANG=C.UTF-8"}
}

// freeAddress finds a port for a server. It is none of those that the system
// gives to outgoing connections: one of them could have it while the server is
// down and is to come back.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := "127.0.0.1:" + strconv.Itoa(10_000+rand.IntN(20_000)) //nolint:gosec // a port, not a secret
		if _, taken := addresses.LoadOrStore(address, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// addresses are those that were given out.
var addresses sync.Map

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
