package gitwork

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/runner/sandbox"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.Subcommand {
		syscall.Exit(sandbox.Init()) // os.Exit waits a second under the race detector
	}
	os.Exit(m.Run())
}

var task = corp.TaskID{9}

// sh runs a script in dir as the user would, with git's user set.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=u", "GIT_AUTHOR_EMAIL=u@x.invalid", "GIT_COMMITTER_NAME=u", "GIT_COMMITTER_EMAIL=u@x.invalid",
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main",
		"GIT_CONFIG_KEY_1=protocol.file.allow", "GIT_CONFIG_VALUE_1=always",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// userRepository makes a repository with three commits and returns its path.
func userRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sh(t, dir, `git init -q . && printf 'one\ntwo\nthree\n' > a.txt && git add . && git commit -qm first
		mkdir -p src && echo 'package main' > src/main.go && echo secret-of-the-past > gone && git add . && git commit -qm second
		git rm -q gone && printf 'ignored/\n*.log\n' > .gitignore && printf '\000\001\002' > bin.dat && ln -s a.txt link && git add . && git commit -qm third && git tag -am v1 v1`)
	return dir
}

func placeAt(t *testing.T, level sandbox.Level) Place {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := sandbox.FolderOf(t.TempDir(), corp.RunID{1})
	if err := f.Make(level); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
	})
	return Place{Folder: f, Level: level, Binary: binary, Task: task, Outbound: outbound.Policy{AllowPrivate: true}} // the forges are on this machine
}

// bundleOf makes a base bundle as the command line does.
func bundleOf(t *testing.T, repository, ref string) (path string, base Base) {
	t.Helper()
	l, err := OpenLocal(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	if base, err = l.Resolve(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := l.Bundle(t.Context(), base.Commit, &b); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "base.bundle")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, base
}

func fetchLocal(t *testing.T, repository string, level sandbox.Level) *Checkout {
	t.Helper()
	bundle, base := bundleOf(t, repository, "")
	c, err := Fetch(t.Context(), placeAt(t, level), Source{Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	if c.Base() != base.Commit {
		t.Fatalf("base is %s, want %s", c.Base(), base.Commit)
	}
	return c
}

// agent runs a script in the checkout as an agent does: in the sandbox.
func agent(t *testing.T, c *Checkout, script string) string {
	t.Helper()
	f := c.place.Folder
	p := sandbox.Profile{Level: c.place.Level, Binary: c.place.Binary, Checkout: f.Checkout(), Home: f.Home(), Tmp: f.Tmp()}
	p.Env = []string{"PATH=/usr/bin:/bin"}
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		p.Env = append(p.Env, "GIT_"+who+"_NAME=agent", "GIT_"+who+"_EMAIL=agent@x.invalid")
	}
	process, err := sandbox.Command(t.Context(), p, "sh", "-ec", script)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	process.Stdout, process.Stderr = &out, &out
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	if exit, err := process.Wait(); err != nil || !exit.OK() {
		t.Fatalf("the agent's script failed: %v, %v\n%s", exit, err, out.String())
	}
	return out.String()
}

var someCommit = Commit{AuthorName: "Generic Corp Sable", Message: "Fix it\n\nAs asked.\n", At: time.Unix(1_800_000_000, 0)}

func collect(t *testing.T, c *Checkout) Result {
	t.Helper()
	r, err := c.Collect(t.Context(), someCommit)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// filesOf lists a commit's tree in the trusted repository.
func filesOf(t *testing.T, c *Checkout, commit string) string {
	t.Helper()
	out, err := c.trusted(t.Context(), nil, "ls-tree", "-r", "--name-only", commit)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func bothLevels(t *testing.T, test func(t *testing.T, level sandbox.Level)) {
	t.Helper()
	for _, level := range []sandbox.Level{sandbox.Bubblewrap, sandbox.None} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			test(t, level)
		})
	}
}

// forge is a real git server over http with one user.
type forge struct {
	url  string
	root string
}

const password = "s3cret/with+odd chars%"

func newForge(t *testing.T, private bool) forge {
	t.Helper()
	root := t.TempDir()
	sh(t, root, `git clone -q --bare `+userRepository(t)+` app.git && git -C app.git config http.receivepack true && git init -q --bare empty.git`)
	execPath := sh(t, root, "git --exec-path")
	backend := &cgi.Handler{
		Path: filepath.Join(execPath, "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root, "GIT_CONFIG_NOSYSTEM=1"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); private && (user != "x-access-token" || pass != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return forge{url: server.URL, root: root}
}

// fingerprint hashes every file below dir but those that skip names.
func fingerprint(t *testing.T, dir string, skip ...string) map[string]string {
	t.Helper()
	prints := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		for _, s := range skip {
			if strings.HasPrefix(name, s) {
				return nil
			}
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := sha256.New()
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			_, _ = sum.Write(b)
			_, _ = fmt.Fprint(sum, info.ModTime())
		}
		prints[name] = info.Mode().String() + hex.EncodeToString(sum.Sum(nil))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return prints
}

func expect(t *testing.T, err error, reason corp.Reason, kind corp.Kind, field string) {
	t.Helper()
	e, ok := errors.AsType[*corp.Error](err)
	if !ok || ReasonOf(err) != reason || e.Kind != kind || e.Field != field || e.Hint == "" {
		t.Errorf("got reason %s of %#v, want %s, %s, field %q", ReasonOf(err), err, reason, kind, field)
	}
	if err != nil && (strings.Contains(err.Error(), password) || strings.Contains(fmt.Sprintf("%#v", err), password)) {
		t.Errorf("the password is in %v", err)
	}
}

func TestTheWholeWayHoldsForAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // this whole run is that
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "corp-nobody-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Copied by another process, so that no descriptor of ours keeps it "busy".
	binary, tmp := filepath.Join(dir, "corp.test"), filepath.Join(dir, "tmp")
	if out, err := exec.CommandContext(t.Context(), "cp", self, binary).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.Chmod(binary, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, nobody, nobody)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run=CloneIsIts|CredentialOpens|OneCommit|NoChange|Trusted|Nested|OddFiles|OneBranchOnce|NothingElseChanges|BadBundle")
	cmd.Dir = tmp
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "HOME=" + tmp}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("\n--- PASS")) < 9 {
		t.Fatalf("as uid %d: %v\n%s", nobody, err, out)
	}
}

func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
