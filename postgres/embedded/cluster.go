package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/genericcorp/corp"
)

// newPrefix begins the names of data folders that are not whole yet. Each
// attempt has its own: a child of a killed one may still be writing there.
const newPrefix = "data.new-"

// cluster makes the data folder.
type cluster struct {
	major    int
	folder   folder
	binaries binaries
	as       account
	durable  bool
	cache    string // shared folder with an initialised cluster, or empty
}

// ensure makes the data folder if it is missing. It is made aside and renamed
// when it is whole, so that a kill at any moment leaves nothing half made.
func (c cluster) ensure(ctx context.Context) error {
	found, err := os.ReadFile(filepath.Join(c.folder.data(), "PG_VERSION"))
	if err == nil {
		if v := strings.TrimSpace(string(found)); v != strconv.Itoa(c.major) {
			return corp.Conflict(fmt.Sprintf("The data in %s is of PostgreSQL %s; this corp runs %d.", c.folder.data(), v, c.major),
				"Keep the folder and name another with --data; docs/operate.md, Versions of PostgreSQL, tells how to move what is in it.")
		}
		return checkRights(c.folder.data())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read data folder: %w", err)
	}
	if err := c.discard(); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(string(c.folder), newPrefix)
	if err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if err := c.fill(ctx, tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, c.folder.data()); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if !c.durable {
		return nil
	}
	return syncDir(string(c.folder))
}

// checkRights refuses a data folder that PostgreSQL would refuse with less to say.
func checkRights(data string) error {
	info, err := os.Stat(data)
	if err != nil {
		return fmt.Errorf("read data folder: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o700 != 0o700 || mode&0o027 != 0 {
		return corp.Invalid("dir", fmt.Sprintf("The folder %s has the rights %04o, with which PostgreSQL does not start.", data, mode), "Run chmod 700 "+data+", after looking into who changed it.")
	}
	return nil
}

// discard removes what earlier attempts left.
func (c cluster) discard() error {
	left, err := filepath.Glob(c.folder.path(newPrefix + "*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		endInitdb(dir)
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove unfinished data folder: %w", err)
		}
	}
	return nil
}

func (c cluster) fill(ctx context.Context, dir string) error {
	if c.cache == "" {
		return c.initdb(ctx, dir)
	}
	kept := filepath.Join(c.cache, fmt.Sprintf("cluster-%s-%d", c.binaries.version, c.as.uid))
	err := whileLocked(filepath.Join(c.cache, "cluster.lock"), func() error {
		if _, err := os.Stat(kept); err == nil {
			return nil
		}
		tmp, err := os.MkdirTemp(c.cache, newPrefix)
		if err != nil {
			return err
		}
		if err := c.initdb(ctx, tmp); err != nil {
			return errors.Join(err, os.RemoveAll(tmp))
		}
		return os.Rename(tmp, kept)
	})
	if err != nil {
		return err
	}
	if err := copyTree(kept, dir); err != nil {
		return fmt.Errorf("copy cluster: %w", err)
	}
	return c.as.own(dir)
}

// initdb initialises an empty folder. The collation is PostgreSQL's own: with
// one of the C library or ICU, indexes would break when those change.
func (c cluster) initdb(ctx context.Context, dir string) error {
	if err := c.as.own(dir); err != nil {
		return err
	}
	args := []string{
		"-D", dir, "-U", SuperRole, "--encoding=UTF8", "--no-locale",
		"--data-checksums", "--auth-local=peer", "--auth-host=reject", "--no-instructions", "--text-search-config=english",
	}
	if c.major >= 17 { // before, "C" is the only collation that is PostgreSQL's own
		args = append(args, "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
	}
	if c.durable {
		args = append(args, initdbSync...)
	} else {
		args = append(args, "--no-sync")
	}
	cmd := command(c.binaries.program("initdb"), c.as, filepath.Dir(dir), args...)
	dieWithParent(cmd.SysProcAttr, syscall.SIGKILL)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, 5*time.Second
	p, err := spawn(cmd)
	if err != nil {
		return fmt.Errorf("run initdb: %w", err)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		<-p.done
		endInitdb(dir)
		return fmt.Errorf("run initdb: %w", ctx.Err())
	}
	if bytes.Contains(out.Bytes(), []byte("could not look up effective user ID")) {
		return corp.Invalid("run_as", fmt.Sprintf("User %d has no entry in the user database, and PostgreSQL's initdb needs one.", c.as.uid),
			"Add the user to /etc/passwd, or run corp as a user that has an entry.")
	}
	if p.err != nil {
		return fmt.Errorf("run initdb: %w: %s", p.err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// endInitdb waits for the end of the servers that a killed initdb had started on
// dir. They end by themselves, as nobody tells them what to do any more, and
// then give their shared memory back, which they could not if they were killed.
func endInitdb(dir string) {
	if !await(2*time.Second, func() bool { return len(residents(dir)) == 0 }) {
		evict(dir)
	}
}

// copyTree copies the files and folders below from into the folder to.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == from {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Mkdir(filepath.Join(to, rel), 0o700)
		}
		return copyFile(name, filepath.Join(to, rel))
	})
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
