package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
)

// port names the socket; no TCP port is opened.
const port = "5432"

// maxSocketDir is the longest folder of a socket, in bytes: the kernel's
// address holds 104 on macOS (108 on Linux), with a zero at the end.
const maxSocketDir = 104 - 1 - len("/.s.PGSQL."+port)

// plainPath are paths that mean the same in a connection URL, in a list of
// hosts and in a setting.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

// socketDir returns the private folder of the socket: run in the cluster's
// folder or, where that path is too long or too odd for a socket, one in the
// folder for temporary files that is always the same for the same cluster.
func socketDir(f folder, as account) (string, error) {
	if dir := f.path("run"); len(dir) <= maxSocketDir && plainPath.MatchString(dir) {
		return dir, privateDir(dir, as)
	}
	sum := sha256.Sum256([]byte(f))
	name := "corp-pg-" + hex.EncodeToString(sum[:8])
	for _, tmp := range []string{os.TempDir(), "/tmp"} {
		dir := filepath.Join(tmp, name)
		if len(dir) <= maxSocketDir && plainPath.MatchString(dir) {
			return dir, privateDir(dir, as)
		}
	}
	return "", fmt.Errorf("no short path for a socket below %s", os.TempDir())
}

// privateDir makes a folder that only the account can enter. One that is there
// already may be somebody else's trap, as anyone may write to /tmp.
func privateDir(dir string, as account) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		return as.own(dir)
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make socket folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("make socket folder: %w", err)
	}
	owner, _, err := ownerOf(dir)
	if err != nil {
		return err
	}
	if owner.uid == os.Geteuid() && as.drop { // killed before it was given away
		if err := as.own(dir); err != nil {
			return err
		}
		owner.uid = as.uid
	}
	if !info.IsDir() || info.Mode().Perm() != 0o700 || owner.uid != as.uid {
		return fmt.Errorf("socket folder %s is not a private folder of user %d: remove it", dir, as.uid)
	}
	return nil
}

// AppURL is the connection string of the role that the product's queries run
// as. Row-level security applies to it. It holds no password.
func (s *Server) AppURL() string { return s.url(AppRole, Database) }

// SystemURL is the connection string of the role for work across workspaces.
func (s *Server) SystemURL() string { return s.url(SystemRole, Database) }

// OwnerURL is the connection string of the role that owns the database, for
// migrations only.
func (s *Server) OwnerURL() string { return s.url(OwnerRole, Database) }

// SuperURL is the connection string of the superuser for a database of the
// cluster, for maintenance and for tests that make databases of their own.
func (s *Server) SuperURL(database string) string { return s.url(SuperRole, database) }

func (s *Server) url(role, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(role), Path: "/" + database,
		RawQuery: url.Values{"host": {s.socket}, "port": {port}, "sslmode": {"disable"}}.Encode(),
	}
	return u.String()
}
