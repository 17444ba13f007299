package embedded

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// writeConf writes the configuration files. They lie outside the data folder,
// so that as root we never write where PostgreSQL's user could put a link.
func writeConf(f folder, as account, major int, durable bool, extra map[string]string) error {
	if err := os.MkdirAll(f.conf(), 0o711); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	hba, ident := access()
	for name, text := range map[string]string{
		"postgresql.conf": settingsText(major, durable, extra),
		"pg_hba.conf":     hba,
		"pg_ident.conf":   ident,
	} {
		file := filepath.Join(f.conf(), name)
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), as.own(file)); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	if as.drop {
		return os.Chmod(f.conf(), 0o711) // whatever the umask was
	}
	return nil
}

// settingsText starts from what initdb found out about this machine.
func settingsText(major int, durable bool, extra map[string]string) string {
	// What PostgreSQL knows of a table that is filled for the first time is soon put
	// right: statements are planned once, and else as if it were still empty.
	settings := map[string]string{
		"allow_alter_system": "off",
		"autovacuum_naptime": "10s",
		"huge_pages":         "off",
		"io_workers":         "1",
		"jit":                "off",
		"lc_messages":        "C",
		"log_line_prefix":    "%m [%p] %q%u@%d ",
		"log_timezone":       "UTC",
		"max_connections":    "100",
		"max_wal_senders":    "4",
		"max_wal_size":       "512MB",
		"min_wal_size":       "64MB",
		"shared_buffers":     "128MB",
		"timezone":           "UTC",
		"wal_compression":    "on",
	}
	if major < 18 {
		delete(settings, "io_workers")
	}
	if major < 17 {
		delete(settings, "allow_alter_system")
	}
	if !durable {
		// A commit still writes the log to the kernel, where only the machine
		// can lose it: tests kill processes, never machines.
		maps.Copy(settings, map[string]string{
			"autovacuum": "off", "checkpoint_timeout": "1d", "fsync": "off", "full_page_writes": "off",
			"max_wal_senders": "0", "max_wal_size": "8GB", "wal_level": "minimal",
		})
	}
	maps.Copy(settings, extra)
	var b strings.Builder
	b.WriteString("# Written at every start; changes here are lost.\ninclude_if_exists = '../data/postgresql.conf'\n")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := strings.ReplaceAll(strings.ReplaceAll(settings[name], `\`, `\\`), "'", "''")
		fmt.Fprintf(&b, "%s = '%s'\n", name, value)
	}
	return b.String()
}

// fixed are the settings that no file may change, not even one in the data
// folder: they go on the command line.
func fixed(f folder, socket string) []string {
	return []string{
		"-D", f.data(),
		"-c", "config_file=" + filepath.Join(f.conf(), "postgresql.conf"),
		"-c", "hba_file=" + filepath.Join(f.conf(), "pg_hba.conf"),
		"-c", "ident_file=" + filepath.Join(f.conf(), "pg_ident.conf"),
		"-c", "listen_addresses=",
		"-c", "port=" + port,
		"-c", "unix_socket_directories=" + socket,
		"-c", "unix_socket_permissions=0700",
	}
}

var plainUser = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// access returns who may log in: the user that this program runs as, as any
// role, and nobody else. PostgreSQL asks the kernel who is there; it needs the
// user's name for that, and for a user without one the private folder of the
// socket has to do.
func access() (hba, ident string) {
	method := "trust"
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil && plainUser.MatchString(u.Username) {
		method = "peer map=corp"
		ident = "corp " + u.Username + " all\n"
	}
	return "local all all " + method + "\nlocal replication " + SuperRole + " " + method + "\n", ident
}
