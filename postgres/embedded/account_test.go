package embedded

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
)

const nobody = 65534

func TestServerNeverRunsAsRoot(t *testing.T) {
	t.Parallel()
	s := startServer(t, quick(t, newDir(t)))
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.Pid()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "\nUid:")
	line, _, _ = strings.Cut(line, "\n")
	for uid := range strings.FieldsSeq(line) { // real, effective, saved, file system
		if uid == "0" {
			t.Errorf("postgres runs with user ids %s", line)
		}
	}
	_, line, _ = strings.Cut(string(status), "\nGroups:")
	line, _, _ = strings.Cut(line, "\n")
	if os.Geteuid() == 0 && strings.TrimSpace(line) != "" {
		t.Errorf("postgres kept the groups %s of root", line)
	}
}

func TestAnOrdinaryUserCanRunIt(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	var cred *syscall.Credential // an ordinary user is one already
	if os.Geteuid() == 0 {
		cred = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chmod(filepath.Dir(dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	task := childTask{Config: Config{Dir: dir, BinDir: binDir(t), Durable: true}}
	for _, start := range []string{"cold", "warm"} {
		c := startChild(t, task, cred)
		if line := c.line(); !strings.HasPrefix(line, "pid ") {
			t.Fatalf("%s start: %s", start, line)
		}
		c.kill(t)
		eventually(t, "postgres follows its parent", func() bool { return len(residents(filepath.Join(dir, "data"))) == 0 })
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %v, want that others stay out", info.Mode().Perm())
	}
}

func TestRootKeepsTheUserThatAClusterWasMadeWith(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	if os.Geteuid() != 0 {
		cfg.RunAs = "daemon"
		if _, err := Start(deadline(t), cfg); err != nil {
			t.Errorf("an ordinary user's RunAs: %v, want that it is ignored", err)
		}
		return
	}
	cfg.RunAs = strconv.Itoa(nobody)
	s := startServer(t, cfg)
	stopServer(t, s)
	cfg.RunAs = ""
	s = startServer(t, cfg)
	if s.as.uid != nobody {
		t.Errorf("the cluster of user %d now runs as %d", nobody, s.as.uid)
	}
	stopServer(t, s)
	cfg.RunAs = "daemon"
	if _, err := Start(deadline(t), cfg); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("start as another user: %v, want an invalid run_as", err)
	}
}

func TestRunAsRootIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"root", "0", "no-such-user"} {
		if _, err := lookUp(name); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("lookUp(%q): %v, want an invalid user", name, err)
		}
	}
}

func TestAFolderThatPostgresCannotEnterIsExplained(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	closed := filepath.Join(filepath.Dir(dir), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := quick(t, filepath.Join(closed, "pg"))
	if os.Geteuid() != 0 {
		startServer(t, cfg) // one's own private folder is no obstacle
		return
	}
	_, err := Start(deadline(t), cfg)
	if corp.KindOf(err) != corp.KindInvalid || !strings.Contains(err.Error(), closed) {
		t.Errorf("start below a private folder: %v, want an error that names %s", err, closed)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "data")); err == nil {
		t.Error("a cluster was made all the same")
	}
}

func TestAnotherUserOfTheMachineCannotConnect(t *testing.T) {
	t.Parallel()
	s := startServer(t, quick(t, newDir(t)))
	info, err := os.Stat(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder has mode %v, want 0700", info.Mode().Perm())
	}
	hba, ident := access()
	if !strings.Contains(hba, "peer map=corp") || strings.Contains(hba, "trust") || strings.Count(ident, "\n") != 1 {
		t.Errorf("access is by\n%s%s", hba, ident)
	}
	if n := query[int](t, s.SuperURL("postgres"), "SELECT count(*) FROM pg_hba_file_rules WHERE type <> 'local' OR auth_method <> 'peer' OR error IS NOT NULL"); n != 0 {
		t.Errorf("%d access rules are not local and by peer", n)
	}
}
