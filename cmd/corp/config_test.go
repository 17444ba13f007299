package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

// command runs corp in this process, with nothing of the user's environment.
func command(t *testing.T, vars map[string]string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	env := &environment{In: strings.NewReader(""), Out: &o, Err: &e, Getenv: func(name string) string { return vars[name] }, Environ: func() []string { return nil }}
	code = execute(t.Context(), env, args)
	return o.String(), e.String(), code
}

func TestFlagBeatsVariableBeatsFileBeatsDefault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "corp.yaml"), []byte("slots: 3\nlease-ttl: 40s\nsandbox-read: [/a, /b]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{"CORP_SLOTS": "4", "CORP_LEASE_TTL": "50s", "CORP_DATA": dir, "ANTHROPIC_API_KEY": "sk-very-secret", "CORP_RETENTION_EVENTS": "30d", "CORP_RETENTION_CALLS": "0"}
	out, errs, code := command(t, vars, "up", "--check", "--slots", "5")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, want := range []string{`slots: "5"`, "lease-ttl: 50s", "sandbox-read: '[/a,/b]'", "heartbeat: 10s", "anthropic-api-key: set", "retention-events: 30d", "retention-calls: 0d", "retention-blobs: 90d", "gateway-url: http://127.0.0.1:7401", "blobs: " + dir, "data: " + dir} {
		if !strings.Contains(out, want) {
			t.Errorf("--check does not show %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "very-secret") {
		t.Error("--check shows a secret")
	}
}

func TestCheckShowsNoPasswords(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"CORP_POSTGRES_URL": "postgres://corp_app:hunter2@db/corp", "CORP_POSTGRES_SYSTEM_URL": "postgres://corp_system:hunter2@db/corp", "CORP_REDIS_URL": "rediss://limits:hunter2@cache:6379/1", "CORP_DATA": t.TempDir()}
	out, _, code := command(t, vars, "up", "--check")
	if code != 0 || strings.Contains(out, "hunter2") || !strings.Contains(out, "corp_app") || !strings.Contains(out, "redis-url: rediss://limits:xxxxx@cache:6379/1") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

func TestWrongSettingsNameTheFieldAndEndInUsage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		vars map[string]string
		args []string
		says string
	}{
		"a variable that does not fit": {map[string]string{"CORP_SLOTS": "many"}, nil, "slots"},
		"an address without a port":    {nil, []string{"--listen", "localhost"}, "listen"},
		"half an external database":    {map[string]string{"CORP_POSTGRES_URL": "postgres://x@y/z"}, nil, "postgres-system-url"},
		"a lease shorter than a beat":  {nil, []string{"--lease-ttl", "2s"}, "lease-ttl"},
		"a redis that is none":         {map[string]string{"CORP_REDIS_URL": "http://:hunter2@cache"}, nil, "redis-url"},
		"a missing file":               {nil, []string{"--config", "/no/such/file"}, "config"},
		"no sandbox of that name":      {nil, []string{"--sandbox", "docker"}, "sandbox"},
		"days that are none":           {map[string]string{"CORP_RETENTION_CALLS": "a year"}, nil, "retention-calls"},
		"kept for less than a day":     {nil, []string{"--retention-events", "90m"}, "retention-events"},
		"kept for negative days":       {nil, []string{"--retention-events=-3d"}, "retention-events"},
		"an unknown flag":              {nil, []string{"--lisen", "x"}, "--help"},
		"an argument too many":         {nil, []string{"now"}, "Usage"},
		"no such output":               {nil, []string{"-o", "xml"}, "output"},
	} {
		vars := map[string]string{"CORP_DATA": t.TempDir()}
		maps.Copy(vars, c.vars)
		if _, errs, code := command(t, vars, append([]string{"up", "--check"}, c.args...)...); code != exitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
}

func TestWrongArgumentsNameTheFieldBeforeAnyServerIsAsked(t *testing.T) {
	t.Parallel()
	zero := "task_" + strings.Repeat("0", 26)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"a key for negative days":          {[]string{"key", "create", "k", "--days", "-1"}, "days: "},
		"a key for a million years":        {[]string{"key", "create", "k", "--days", "365000000"}, "days: "},
		"an agent that is limited below 0": {[]string{"agent", "create", "a", "--model", "a/b", "--concurrency", "-1"}, "concurrency: "},
		"an agent with negative turns":     {[]string{"agent", "create", "a", "--model", "a/b", "--max-turns", "-1"}, "max-turns: "},
		"a list of nothing":                {[]string{"task", "list", "--limit", "0"}, "limit: "},
		"the id of nothing":                {[]string{"task", "show", zero}, "names nothing"},
		"a task that follows nothing":      {[]string{"run", "--repo", ".", "--after", zero, "x"}, "after: "},
		"a server without a scheme":        {[]string{"--server", "localhost", "--key", "k", "whoami"}, "http://127.0.0.1:7400"},
	} {
		vars := map[string]string{"CORP_DATA": t.TempDir(), "CORP_SERVER": "http://127.0.0.1:1", "CORP_KEY": "gc_live_x"}
		if _, errs, code := command(t, vars, c.args...); code != exitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
}

func TestUnknownSettingInTheFileIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "corp.yaml"), []byte("lisen: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := command(t, map[string]string{"CORP_DATA": dir}, "up", "--check"); code != exitUsage || !strings.Contains(errs, "lisen") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestLocalKeyIsNeverSentToAnotherServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeLocal(dir, local{Server: "http://127.0.0.1:1", Key: "gc_live_local"}); err != nil {
		t.Fatal(err)
	}
	_, errs, code := command(t, map[string]string{"CORP_DATA": dir}, "--server", "http://elsewhere.example", "whoami")
	if code != exitUsage || !strings.Contains(errs, "There is no key for http://elsewhere.example") {
		t.Errorf("exit %d: %s", code, errs)
	}
	for list, ours := range map[string]bool{"http://127.0.0.1:2/, http://127.0.0.1:1/": true, "http://a.example,http://127.0.0.1:11": false, "http://127.0.0.1:1.a.example,": false} {
		o := &options{Data: dir, Server: list, env: &environment{Getenv: func(string) string { return "" }}}
		if _, err := o.connect(); (err == nil) != ours {
			t.Errorf("%q gets the local key or not: %v", list, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, localFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the context is %v, %v", info.Mode(), err)
	}
}

func TestExitCodesAreTheContract(t *testing.T) {
	t.Parallel()
	for want, r := range map[int]runResult{
		exitOK:        {State: corp.TaskSucceeded},
		exitFailed:    {State: corp.TaskFailed, Reason: corp.ReasonCheckFailed},
		exitCancelled: {State: corp.TaskCancelled, Reason: corp.ReasonCancelled},
		exitLimit:     {State: corp.TaskFailed, Reason: corp.ReasonBudget},
	} {
		if got := exitCode(r.exit()); got != want {
			t.Errorf("%s (%s) ends with %d, want %d", r.State, r.Reason, got, want)
		}
	}
	if got := exitCode((runResult{State: corp.TaskDead, Reason: corp.ReasonAttempts}).exit()); got != exitFailed {
		t.Errorf("a dead task ends with %d", got)
	}
}
