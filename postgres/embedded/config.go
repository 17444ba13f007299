package embedded

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/genericcorp/corp"
)

// Config says where a cluster lives and how it runs.
type Config struct {
	// Dir is the cluster's folder; it is made if it is missing, and belongs to
	// one Server at a time.
	Dir string
	// Logger gets what a person running the server should know. Nil is silent.
	Logger *slog.Logger
	// Durable keeps every committed row through a loss of power. Without it a
	// commit still survives the death of any process, but not of the machine:
	// for tests only.
	Durable bool
	// BinDir is the folder of the postgres program to use. Empty means the best
	// that can be found: see Server.Source.
	BinDir string
	// RunAs is the user (name or number) that PostgreSQL runs as when this
	// program is root. Empty means the owner of the data, else postgres, else
	// nobody.
	RunAs string
	// Cache is a folder that several clusters share: unpacked programs, and an
	// initialised cluster that is copied instead of made. All copies have one
	// system identifier, so it is for tests. Empty means no sharing.
	Cache string
	// Major is another major version of PostgreSQL to run, from the npm package
	// of that version: for tests of what an older server does. 0 means Major.
	Major int
	// Settings are added to postgresql.conf, by name.
	Settings map[string]string
}

// unsafe are the characters that initdb passes to a shell without care.
const unsafe = "\"$`\\"

var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_.]*$`)

// reserved are the settings on which this package relies.
var reserved = []string{
	"allow_alter_system", "config_file", "data_directory", "external_pid_file", "hba_file", "ident_file",
	"listen_addresses", "port", "unix_socket_directories", "unix_socket_group", "unix_socket_permissions",
}

// complete returns the configuration with absolute folders and a logger, or
// says what is wrong with it.
func (c Config) complete() (Config, error) {
	c.Major = cmp.Or(c.Major, Major)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dir == "" {
		return c, corp.Invalid("dir", "The database needs a folder.", "Name one, for example with --data.")
	}
	for name, dir := range map[string]*string{"dir": &c.Dir, "bin_dir": &c.BinDir, "cache": &c.Cache} {
		if *dir == "" {
			continue
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return c, err
		}
		if strings.ContainsAny(abs, unsafe) || strings.ContainsFunc(abs, unicode.IsControl) {
			return c, corp.Invalid(name, "The folder's name holds a character that PostgreSQL's tools cannot take.",
				"Use a path without quotes, dollar signs, backticks, backslashes and control characters.")
		}
		*dir = abs
	}
	return c, checkSettings(c.Settings)
}

func checkSettings(settings map[string]string) error {
	for name, value := range settings {
		if !settingName.MatchString(name) || strings.ContainsFunc(value, unicode.IsControl) {
			return corp.Invalid("settings", "A PostgreSQL setting has a name or a value that is not allowed.",
				"Names are lower case; a value is one line.")
		}
		if slices.Contains(reserved, name) {
			return corp.Invalid("settings", "The PostgreSQL setting "+name+" cannot be changed here.",
				"Use your own PostgreSQL through CORP_POSTGRES_URL to set it.")
		}
	}
	return nil
}
