package gitwork

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/runner/sandbox"
	"github.com/genericcorp/corp/stage"
)

// 127.0.0.2 stands for a public address: closed lists it and nothing else.
const standsForPublic = "127.0.0.2"

func closed() outbound.Policy {
	return outbound.Policy{Private: []netip.Prefix{netip.MustParsePrefix(standsForPublic + "/32")}}
}

// listenOn takes an address of this machine and counts who connects.
func listenOn(t *testing.T, address string) (l *counting, port string) {
	t.Helper()
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inner.Close() })
	_, port, _ = net.SplitHostPort(inner.Addr().String())
	return &counting{Listener: inner}, port
}

type counting struct {
	net.Listener
	connections atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.connections.Add(1)
	}
	return conn, err
}

func serveHTTP(t *testing.T, l net.Listener, h http.Handler) {
	t.Helper()
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}}
	s.Start()
	t.Cleanup(s.Close)
}

func fetchBy(t *testing.T, policy outbound.Policy, url string, env ...string) error {
	t.Helper()
	place := placeAt(t, sandbox.None)
	place.Outbound, place.NetworkEnv = policy, env
	_, err := Fetch(t.Context(), place, Source{URL: url})
	return err
}

// Attack case 51. Control: where it is allowed the repository is fetched.
func TestARemoteInsideTheOperatorsNetworkIsNotReached(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	if err := fetchBy(t, outbound.Policy{AllowPrivate: true}, forge.url+"/app.git"); err != nil {
		t.Fatalf("where it is allowed: %v", err)
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(forge.url, "http://"))
	inner, innerPort := listenOn(t, "127.0.0.1:0")
	for _, url := range []string{
		forge.url + "/app.git", "http://localhost:" + port + "/app.git", "http://2130706433:" + port + "/app.git", "http://0x7f000001:" + port + "/app.git", "http://127.1:" + port + "/app.git",
		"http://[::ffff:127.0.0.1]:" + port + "/app.git", "http://169.254.169.254/latest", "https://127.0.0.1:" + innerPort + "/x", "https://[fe80::1]/x",
		"git://127.0.0.1:" + innerPort + "/x", "git://localhost:" + innerPort + "/x", "ssh://git@127.0.0.1:" + innerPort + "/x", "ssh://git@localhost:" + innerPort + "/x", "git@localhost:x",
	} {
		expect(t, fetchBy(t, closed(), url), corp.ReasonRepository, corp.KindInvalid, "repository")
	}
	if n := inner.connections.Load(); n != 0 {
		t.Errorf("%d connections inside", n)
	}
}

// Attack case 51. Control: a plain host gets its command. ssh is started by a shell.
func TestNoHostIsReadByAShell(t *testing.T) {
	t.Parallel()
	policy := closed()
	for _, zone := range []string{"';touch pwned;'", "';touch$IFS''pwned;'", "$(touch%20pwned)", "`touch%20pwned`", "x"} {
		for _, address := range []string{"::ffff:" + standsForPublic, "::ffff:8.8.8.8", "2606:4700::1111", "fe80::1"} {
			place := placeAt(t, sandbox.None)
			place.Outbound = policy
			_, err := Fetch(t.Context(), place, Source{URL: "ssh://git@[" + address + "%25" + zone + "]:1/app.git"})
			expect(t, err, corp.ReasonRepository, corp.KindInvalid, "repository")
			if found, _ := filepath.Glob(filepath.Join(place.Folder.Root(), "*", "pwned")); len(found) != 0 {
				t.Fatalf("zone %s ran: %v", zone, found)
			}
		}
	}
	for host, want := range map[string]bool{"git.example.com": true, "a_b": true, "::1": true, "8.8.8.8": true, "a'b": false, "a b": false, "$(id)": false, "a;b": false, "a%b": false, "": false, "a\nb": false} {
		command, err := sshTo(netip.MustParseAddr(standsForPublic), host, "2222")
		if (err == nil) != want || want && !strings.HasSuffix(command, " -oHostName="+standsForPublic+" -oHostKeyAlias='["+host+"]:2222'") {
			t.Errorf("%q: %s, %v", host, command, err)
		}
	}
}

// Attack case 51. Control: where it is allowed git follows.
func TestARedirectOfARemoteLeadsNowhereInside(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	var inside atomic.Int64
	target := strings.TrimPrefix(forge.url, "http://")
	l, port := listenOn(t, standsForPublic+":0")
	serveHTTP(t, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside.Add(1)
		http.Redirect(w, r, "http://"+target+r.URL.RequestURI(), http.StatusFound)
	}))
	url := "http://" + standsForPublic + ":" + port + "/app.git"
	if err := fetchBy(t, outbound.Policy{AllowPrivate: true}, url); err != nil {
		t.Fatalf("where it is allowed, git follows: %v", err)
	}
	expect(t, fetchBy(t, closed(), url), corp.ReasonRepository, corp.KindInvalid, "repository")
	if inside.Load() < 2 {
		t.Error("the redirect was not even asked for")
	}
}

// Attack case 51. Control: while the name keeps its meaning the repository is fetched.
func TestANameThatChangesItsMeaningLeadsGitNowhereInside(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	backend, err := http.NewRequestWithContext(t.Context(), http.MethodGet, forge.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	outer, port := listenOn(t, standsForPublic+":0")
	serveHTTP(t, outer, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // breaks off, so that git must connect again
		w.Header().Set("Connection", "close")
		pass(t, w, r, backend.URL.Host)
	}))
	inner, _ := listenOn(t, "127.0.0.1:"+port)
	serveHTTP(t, inner, http.NotFoundHandler())
	policy := closed()
	policy.Resolver = stage.Resolver(t, standsForPublic, "127.0.0.1")
	expect(t, fetchBy(t, policy, "http://rebind.example.com:"+port+"/app.git"), corp.ReasonRepository, corp.KindInvalid, "repository")
	if outer.connections.Load() != 1 || inner.connections.Load() != 0 {
		t.Errorf("%d connections outside and %d inside, want 1 and 0", outer.connections.Load(), inner.connections.Load())
	}
	policy.Resolver = stage.Resolver(t, standsForPublic)
	if err := fetchBy(t, policy, "http://rebind.example.com:"+port+"/app.git"); err != nil {
		t.Errorf("while the name keeps its meaning: %v", err)
	}
}

// pass hands a request on to the forge.
func pass(t *testing.T, w http.ResponseWriter, r *http.Request, host string) {
	t.Helper()
	out := r.Clone(r.Context())
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", host
	answer, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

func TestGitsOwnProtocolGoesToTheAddressThatWasChecked(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	sh(t, root, "git clone -q --bare "+userRepository(t)+" forge.example.com/app.git")
	probe, port := listenOn(t, standsForPublic+":0")
	_ = probe.Close()
	daemon := exec.CommandContext(t.Context(), "git", "daemon", "--export-all", "--reuseaddr", "--listen="+standsForPublic, "--port="+port, "--base-path="+root, "--interpolated-path="+filepath.Join(root, "%H%D"), "--informative-errors", "--verbose")
	daemon.Env = []string{"PATH=" + gitPath, "HOME=" + root, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}
	said, err := daemon.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = daemon.Process.Kill(), daemon.Wait() })
	lines := bufio.NewScanner(said)
	if !lines.Scan() { // it says that it is ready
		t.Fatal("the daemon did not start")
	}
	go func() {
		for lines.Scan() { // it would stop when nobody read
			_ = lines.Text()
		}
	}()
	policy := closed()
	policy.Resolver = stage.Resolver(t, standsForPublic)
	if err := fetchBy(t, policy, "git://forge.example.com:"+port+"/app.git"); err != nil {
		t.Errorf("by its name: %v", err)
	}
	policy.Resolver = stage.Resolver(t, "127.0.0.1")
	expect(t, fetchBy(t, policy, "git://forge.example.com:"+port+"/app.git"), corp.ReasonRepository, corp.KindInvalid, "repository")
	policy.Resolver = stage.Resolver(t, "8.8.8.8") // public, but not encrypted
	expect(t, fetchBy(t, policy, "git://forge.example.com:"+port+"/app.git"), corp.ReasonRepository, corp.KindInvalid, "repository")
}

func TestSSHGoesToTheAddressThatWasChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		meaning string
		reached bool
	}{{standsForPublic, true}, {"127.0.0.1", false}, {"169.254.169.254", false}} {
		l, port := listenOn(t, standsForPublic+":0")
		inner, _ := listenOn(t, "127.0.0.1:"+port)
		greeting := make(chan string, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				greeting <- ""
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_ = conn.Close()
			greeting <- line
		}()
		policy := closed()
		policy.Resolver = stage.Resolver(t, c.meaning)
		err := fetchBy(t, policy, "ssh://git@forge.example.com:"+port+"/app.git")
		_ = l.Close()
		if got := <-greeting; strings.HasPrefix(got, "SSH-2.0-") != c.reached {
			t.Errorf("meaning %s: the host heard %q, reached should be %t (%v)", c.meaning, got, c.reached, err)
		}
		kind := corp.KindInvalid
		if c.reached {
			kind = corp.KindUnavailable // it hung up
		}
		expect(t, err, corp.ReasonRepository, kind, "repository")
		if inner.connections.Load() != 0 {
			t.Error("an address inside was called")
		}
	}
}

func TestTheOperatorsProxyIsUsedAndLeadsNowhereInside(t *testing.T) {
	t.Parallel()
	forge := newForge(t, false)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(forge.url, "http://"))
	operators, err := outbound.ListenProxy(t.Context(), outbound.Policy{AllowPrivate: true, Resolver: stage.Resolver(t, "127.0.0.1")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(operators.Close)
	named := outbound.Policy{Hosts: []string{"forge.example.com"}, Resolver: stage.Resolver(t, "169.254.169.254")} // only the operator's proxy knows what it means
	url := "http://forge.example.com:" + port + "/app.git"
	if err := fetchBy(t, named, url, "http_proxy="+operators.URL()); err != nil {
		t.Errorf("through the operator's proxy: %v", err)
	}
	expect(t, fetchBy(t, named, url, "http_proxy="+operators.URL(), "NO_PROXY=example.com"), corp.ReasonRepository, corp.KindInvalid, "repository")
	expect(t, fetchBy(t, named, forge.url+"/app.git", "http_proxy="+operators.URL()), corp.ReasonRepository, corp.KindInvalid, "repository")
}
