package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp/postgres/embedded/bundle"
)

// childEnv makes the test program a server in a process of its own, to be
// killed. It reads a childTask, and stops the server when its input ends.
const childEnv = "CORP_EMBEDDED_TEST_CHILD"

// childTask is what a child process is to do.
type childTask struct {
	Config Config
	Write  bool // after the start, insert rows and print each acknowledged number
	// Archive is a file with a bundle, to be unpacked instead of other programs.
	Archive string
	// Room is what is prepared around the process first, and Script what it does then.
	Room   room
	Script string
}

// room is what only a root could prepare around a process: another user's files, a
// small or a read-only disk. Root and an ordinary user enter it the same way,
// through namespaces in which they are an ordinary user of the test's choice.
type room struct {
	UID      int    // who the process is; 0 means that there is no room
	Disk     int    // bytes of a disk of its own on the folder above the cluster's
	ReadOnly bool   // that disk can only be read
	Stranger string // path of a folder of somebody else's, seen as the cluster's data
	Inside   bool
}

func (r room) outside() bool { return r.UID != 0 && !r.Inside }

// Rooms are made of namespaces, where there are such.
var (
	enterRoom func(childTask) int
	roomAttr  func() *syscall.SysProcAttr
	scripts   map[string]func(context.Context, Config) error
)

// shared is a folder on a memory disk for all that tests share.
var shared string

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp(memoryDisk(), "corp-embedded-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = dir
	if err := makeChildProgram(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// childProgram is a copy of the test program that any user can run: the original
// lies in a folder of the go command that only its user can enter. It is made
// before any process is started, which would keep it from being run.
func childProgram() string { return filepath.Join(shared, "child") }

func makeChildProgram() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := copyFile(self, childProgram()); err != nil {
		return err
	}
	return os.Chmod(childProgram(), 0o755)
}

// memoryDisk returns the folder of a memory disk, or "" for the usual one.
func memoryDisk() string {
	const shm = "/dev/shm"
	probe, err := os.MkdirTemp(shm, "corp-probe-")
	if err != nil {
		return ""
	}
	_ = os.Remove(probe)
	return shm
}

// newDir returns a folder for one cluster that any user can reach.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(shared, "t-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "pg")
}

// quick is a configuration that copies a cluster instead of initialising one.
func quick(t *testing.T, dir string) Config {
	t.Helper()
	return Config{Dir: dir, Cache: filepath.Join(shared, "cache"), Logger: logger(t)}
}

func logger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// startServer starts a server that is stopped when the test ends.
func startServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(deadline(t), cfg)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

func stopServer(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(deadline(t)); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(deadline(t), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn := connect(t, url)
	for _, s := range statements {
		if _, err := conn.Exec(deadline(t), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func query[T any](t *testing.T, url, statement string) T {
	t.Helper()
	var v T
	if err := connect(t, url).QueryRow(deadline(t), statement).Scan(&v); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return v
}

// eventually waits until ok, for as long as the test may take.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := deadline(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		}
	}
}

// childProcess is the test program, running a server.
type childProcess struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// startChild runs a task in a process of its own, as another user if cred is
// not nil.
func startChild(t *testing.T, task childTask, cred *syscall.Credential) *childProcess {
	t.Helper()
	cmd := exec.Command(childProgram())
	cmd.Dir = shared
	cmd.Env = []string{childEnv + "=1", "PATH=/usr/bin:/bin", "TMPDIR=/tmp"}
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if task.Room.outside() {
		cmd.SysProcAttr = roomAttr()
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if err := json.NewEncoder(in).Encode(task); err != nil {
		t.Fatal(err)
	}
	return &childProcess{cmd: cmd, lines: bufio.NewScanner(out)}
}

// line returns the child's next line of output, or "" when it has ended.
func (c *childProcess) line() string {
	if !c.lines.Scan() {
		return ""
	}
	return c.lines.Text()
}

// kill ends the child as the kernel would, and waits until it is gone. It
// returns what the child had still said.
func (c *childProcess) kill(t *testing.T) (rest []string) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for c.lines.Scan() {
		rest = append(rest, c.lines.Text())
	}
	_ = c.cmd.Wait()
	return rest
}

// binDir returns PostgreSQL's programs in a place that every user can reach.
func binDir(t *testing.T) string {
	t.Helper()
	dst := filepath.Join(shared, "programs")
	err := whileLocked(filepath.Join(shared, "programs.lock"), func() error {
		if _, err := os.Stat(dst); err == nil {
			return nil
		}
		return bundle.Copy(npmPackage(t), dst)
	})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dst, "bin")
}

func npmPackage(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	pkg := bundle.Find(dir, bundle.PackageName(runtime.GOOS, runtime.GOARCH))
	if pkg == "" {
		t.Fatal("PostgreSQL is not in node_modules: run npm ci --ignore-scripts")
	}
	return pkg
}

// child is the main function of a child process.
func child() int {
	ctx := context.Background()
	var task childTask
	if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if task.Room.outside() {
		return enterRoom(task)
	}
	if script := scripts[task.Script]; script != nil {
		if err := script(ctx, task.Config); err != nil {
			fmt.Println("error:", err)
			return 1
		}
		return 0
	}
	s, err := startTask(ctx, task)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("pid", s.Pid())
	if task.Write {
		err = writeRows(ctx, s)
	} else {
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	if err := s.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func startTask(ctx context.Context, task childTask) (*Server, error) {
	if task.Archive == "" {
		return Start(ctx, task.Config)
	}
	archive, err := os.ReadFile(task.Archive)
	if err != nil {
		return nil, err
	}
	return start(ctx, task.Config, finder{archive: archive})
}

// writeRows inserts one row after another and prints each number once the
// server has acknowledged it.
func writeRows(ctx context.Context, s *Server) error {
	conn, err := pgx.Connect(ctx, s.OwnerURL())
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS ledger (n bigint PRIMARY KEY)"); err != nil {
		return err
	}
	for n := int64(1); ; n++ {
		if _, err := conn.Exec(ctx, "INSERT INTO ledger VALUES ($1)", n); err != nil {
			return err
		}
		fmt.Println(n)
	}
}
