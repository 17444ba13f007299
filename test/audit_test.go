package test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp/audit"
)

// From outside: what was done is in the log, the log is sealed and verified, and
// any change of an export is named.
func TestTheAuditLogIsExportedVerifiedAndTamperingIsNamed(t *testing.T) {
	t.Parallel()
	anchor := filepath.Join(folder(t), "checkpoints.jsonl")
	s := start(t, append([]string{"--audit-anchor", anchor}, quick...)...)
	for _, name := range []string{"one", "two", "three"} {
		s.must("agent", "create", name, "--model", "anthropic/claude-sonnet-4-5")
	}
	file := filepath.Join(s.repos, "audit.jsonl")
	wait(t, "the events to be sealed", func() bool {
		_ = os.Remove(file)
		s.must("audit", "export", "-f", file)
		text, err := os.ReadFile(file)
		return err == nil && bytes.Count(text, []byte(`"createAgent"`)) >= 3
	})
	list := s.must("audit", "list", "--operation", "createAgent", "--result", "done")
	if strings.Count(list, "createAgent") != 3 || !strings.Contains(list, "127.0.0.1") {
		t.Errorf("the list:\n%s", list)
	}
	var key string
	for line := range strings.Lines(s.must("audit", "checkpoint")) {
		if text, ok := strings.CutPrefix(line, "Public key"); ok {
			key = strings.TrimSpace(text)
		}
	}
	if _, err := audit.ParsePublicKey(key); err != nil {
		t.Fatalf("the key %q: %v", key, err)
	}
	for _, args := range [][]string{{}, {"--public-key", key, "--anchor", anchor}, {file}, {file, "--public-key", key}, {"--installation"}} {
		if r := s.corp(append([]string{"audit", "verify"}, args...)...); r.code != 0 || !strings.Contains(r.out, "The log is intact") {
			t.Errorf("%v: %d %s%s", args, r.code, r.out, r.err)
		}
	}
	if kept, err := os.ReadFile(anchor); err != nil || !bytes.Contains(kept, []byte(`"signature"`)) {
		t.Errorf("the file of checkpoints: %s %v", kept, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tampered := filepath.Join(s.repos, "tampered.jsonl")
	for what, c := range map[string]struct {
		text []byte
		want string
	}{
		"an operation": {bytes.Replace(text, []byte(`"createAgent"`), []byte(`"deleteAgent"`), 1), "changed"},
		"an address":   {bytes.Replace(text, []byte(`"127.0.0.1"`), []byte(`"127.0.0.2"`), 1), "personal data"},
		"a row":        {without(text, 2), "missing"},
		"the end":      {without(text, bytes.Count(text, []byte("\n"))-1), "cut"},
	} {
		if err := os.WriteFile(tampered, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := s.corp("audit", "verify", tampered); r.code != 1 || !strings.Contains(r.err, c.want) || !strings.Contains(r.err, "row") {
			t.Errorf("%s: exit %d: %s%s", what, r.code, r.out, r.err)
		}
	}
	if out := s.must("audit", "erase", "user_00000000000000000000000000"); !strings.Contains(out, "0 events") {
		t.Errorf("%s", out)
	}
	if r := s.corp("audit", "export", "-f", file); r.code != 2 {
		t.Errorf("an export over another file: exit %d", r.code)
	}
}

// without returns the text without one of its lines, counted from 0.
func without(text []byte, n int) []byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	return bytes.Join(append(lines[:n:n], lines[n+1:]...), nil)
}
