package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

// prober runs one command in the sandbox and ends; what the command printed goes
// back to the vendor, where the test reads it.
const prober = `
name: prober
when: {prompt: {regex: 'Probe: (?P<command>[^\n]+)'}}
rules:
  - name: rule-1
    match: {tool_results: 0}
    reply:
      tool_calls:
        - {name: run, input: {command: '{{.Capture "command"}}'}}
        - {name: write, input: {path: probed.txt, content: "x\n"}}
  - name: rule-2
    reply: {text: Probed.}
`

// probe has an agent run a command, and returns what the vendor saw of it.
func (s *server) probe(v *vendor, repo, command string) string {
	s.t.Helper()
	_, r := s.run("--repo", repo, "--attempts", "1", "Probe: "+command)
	if r.code != 0 {
		s.t.Fatalf("probe %q: exit %d\n%s%s", command, r.code, r.out, r.err)
	}
	requests := v.Requests(1)
	return string(requests[len(requests)-1].Body)
}

// S1: what an agent must not reach, tried by an agent.
// Attack case 61. Control: the agent reads its own checkout.
func TestAgentReachesNothingButItsCheckoutAndTheGateway(t *testing.T) {
	t.Parallel()
	s := start(t)
	v := newVendor(t, prober)
	s.with(v)
	canary := "canary-" + strings.ToLower(corp.NewSecret("")[:16])
	repo := s.repository(map[string]string{"mine.txt": canary + "-mine\n"})
	secret := filepath.Join(s.repos, "secret.txt")
	inHome := filepath.Join(os.Getenv("HOME"), ".corp-e2e-"+canary)
	inData := filepath.Join(s.data, "canary.txt")
	for _, file := range []string{secret, inHome, inData, filepath.Join(s.data, "runner", "canary.txt")} {
		if err := os.WriteFile(file, []byte(canary+"-leak\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Remove(inHome) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	reached := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			reached <- c.RemoteAddr().String()
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())

	if seen := s.probe(v, repo, "cat mine.txt"); !strings.Contains(seen, canary+"-mine") {
		t.Fatalf("the agent cannot read its own checkout, so nothing below proves anything:\n%s", tail(seen, 2000))
	}
	for name, command := range map[string]string{
		"a file outside":       "cat " + secret,
		"the real home":        "cat " + inHome,
		"the data folder":      "cat " + inData + "; find " + s.data + " -type f | head -50",
		"the runner's folder":  "cat " + filepath.Join(s.data, "runner", "canary.txt"),
		"a link to outside":    "ln -s " + secret + " way; cat way",
		"the keys":             "cat " + filepath.Join(s.data, "secret.key") + " " + filepath.Join(s.data, "context.json"),
		"the environment":      "env; cat /proc/1/environ",
		"other processes":      "cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
		"a loopback port":      fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%s && echo connected-%s'", port, canary),
		"the API":              fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/%s && echo connected-%s'", strings.Replace(s.listen, ":", "/", 1), canary),
		"the metadata address": fmt.Sprintf("timeout 5 bash -c 'exec 3<>/dev/tcp/169.254.169.254/80 && echo connected-%s'", canary),
	} {
		seen := s.probe(v, repo, command)
		echoed := strings.Count(seen, "connected-"+canary) > strings.Count(seen, "echo connected-"+canary)
		if strings.Contains(seen, canary+"-leak") || echoed || strings.Contains(seen, "gc_live_") || strings.Contains(seen, "sim-secret") || strings.Contains(seen, s.data+"/postgres/data") {
			t.Errorf("the agent reached %s:\n%s", name, tail(seen, 3000))
		}
	}
	select {
	case from := <-reached:
		t.Errorf("a connection from %s came out of the sandbox", from)
	default:
	}
}
