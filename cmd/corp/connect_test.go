package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Who is signed in somewhere is told so, and not that no server is running.
func TestWithoutAServerTheErrorNamesTheWayToOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ contexts, command, want string }{
		"signed in nowhere":         {`{"contexts": {}}`, "whoami", "No server is running on this machine"},
		"signed in, and none is it": {`{"contexts": {"ada": {"server": "http://127.0.0.1:1", "key": "gc_live_x"}, "bob": {"server": "http://127.0.0.1:1", "key": "gc_live_y"}}}`, "whoami", "You are signed in to: ada, bob. Choose one"},
		"the operator's":            {`{"current": "ada", "contexts": {"ada": {"server": "http://127.0.0.1:1", "key": "gc_live_x"}}}`, "mail list", "This needs the operator's key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			file := filepath.Join(home, "corp", "contexts.json")
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(c.contexts), 0o600); err != nil {
				t.Fatal(err)
			}
			_, errs, code := command(t, map[string]string{"CORP_DATA": t.TempDir(), "XDG_CONFIG_HOME": home}, strings.Fields(c.command)...)
			if code == 0 || !strings.Contains(errs, c.want) {
				t.Errorf("exit %d: %s", code, errs)
			}
		})
	}
}
