package embedded

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"

	"github.com/genericcorp/corp"
)

// Source says where PostgreSQL's programs come from.
type Source string

// The sources.
const (
	SourceExplicit Source = "explicit" // Config.BinDir
	SourceBundle   Source = "bundle"   // built into this program
	SourceSystem   Source = "system"   // installed on this machine
	SourceNPM      Source = "npm"      // a node_modules folder above us
)

// version is a version of PostgreSQL.
type version struct{ major, minor int }

func (v version) String() string { return strconv.Itoa(v.major) + "." + strconv.Itoa(v.minor) }

// binaries is a usable set of PostgreSQL's programs.
type binaries struct {
	dir     string
	source  Source
	version version
}

func (b binaries) program(name string) string { return filepath.Join(b.dir, name) }

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)\.(\d+)`)

// probe runs the postgres in dir as the account that will run it, from the
// folder where it will work: what the two may do shows in no other way.
func (f finder) probe(ctx context.Context, dir string, source Source) (binaries, error) {
	program := filepath.Join(dir, "postgres")
	out, err := versionLine(ctx, program, f.as, f.work)
	if err != nil {
		return binaries{}, fmt.Errorf("run %s: %w", program, err)
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("run %s: unexpected version %q", program, out)
	}
	major, majorErr := strconv.Atoi(string(m[1]))
	minor, minorErr := strconv.Atoi(string(m[2]))
	if err := errors.Join(majorErr, minorErr); err != nil {
		return binaries{}, err
	}
	if want := cmp.Or(f.major, Major); major != want {
		return binaries{}, fmt.Errorf("%s is PostgreSQL %d.%d, not %d", program, major, minor, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, fmt.Errorf("PostgreSQL in %s is incomplete: %w", dir, err)
	}
	return binaries{dir: dir, source: source, version: version{major, minor}}, nil
}

func versionLine(ctx context.Context, program string, as account, work string) ([]byte, error) {
	var out bytes.Buffer
	var p *process
	var err error
	// A program that was just unpacked is "busy" while a child that was forked
	// meanwhile has not yet closed its copy of the file.
	await(forkGrace, func() bool {
		cmd := command(program, as, work, "--version")
		cmd.Stdout, cmd.Stderr = &out, &out
		p, err = spawn(cmd)
		return !errors.Is(err, syscall.ETXTBSY)
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		<-p.done
		return nil, ctx.Err()
	}
	if p.err != nil {
		return nil, fmt.Errorf("%w: %s", p.err, bytes.TrimSpace(out.Bytes()))
	}
	return out.Bytes(), nil
}

// finder looks for PostgreSQL's programs.
type finder struct {
	major   int      // 0 means Major
	binDir  string   // the only place to look, if not empty
	archive []byte   // the bundle, or nil
	system  []string // where installed PostgreSQLs have their programs
	above   []string // folders from which to look upwards for node_modules
	store   string   // where to unpack
	durable bool
	as      account
	work    string
}

// find returns the explicit programs if they are given. Else it returns the
// bundle's or, without a bundle that runs, npm's; but the system's when they are
// newer than those, because they get security fixes that ours may lack.
func (f finder) find(ctx context.Context) (binaries, error) {
	if f.binDir != "" {
		return f.explicit(ctx)
	}
	var found []binaries
	var missing error
	for _, source := range []func(context.Context) (binaries, error){f.bundled, f.npm} {
		b, err := source(ctx)
		if err == nil {
			found = append(found, b)
			break
		}
		missing = errors.Join(missing, err)
	}
	found = append(found, f.installed(ctx)...)
	if len(found) == 0 {
		return binaries{}, &corp.Error{
			Kind: corp.KindUnavailable, Err: missing,
			Message: fmt.Sprintf("No PostgreSQL %d was found.", cmp.Or(f.major, Major)),
			Hint:    fmt.Sprintf("Install PostgreSQL %d, run npm ci --ignore-scripts in the source folder, or set CORP_POSTGRES_URL.", cmp.Or(f.major, Major)),
		}
	}
	// The first of the newest: ours when the system's is no newer.
	return slices.MaxFunc(found, func(a, b binaries) int { return a.version.minor - b.version.minor }), nil
}

func (f finder) explicit(ctx context.Context) (binaries, error) {
	b, err := f.probe(ctx, f.binDir, SourceExplicit)
	if err != nil {
		return b, corp.Invalid("bin_dir", "The PostgreSQL programs in "+f.binDir+" cannot be used: "+err.Error()+".",
			fmt.Sprintf("Name the bin folder of a PostgreSQL %d.", Major))
	}
	return b, nil
}

// installed returns the PostgreSQLs of our major version on the machine.
func (f finder) installed(ctx context.Context) (found []binaries) {
	for _, dir := range f.system {
		// What is not there, cannot be run or is another version is no candidate.
		if b, err := f.probe(ctx, dir, SourceSystem); err == nil {
			found = append(found, b)
		}
	}
	return found
}

// systemFolders are where packages of PostgreSQL put their programs.
func systemFolders() []string {
	major := strconv.Itoa(Major)
	return []string{
		"/usr/lib/postgresql/" + major + "/bin", // Debian, Ubuntu
		"/usr/pgsql-" + major + "/bin",          // PostgreSQL's own packages for Red Hat and SUSE
		"/usr/lib/postgresql" + major + "/bin",  // SUSE
		"/usr/libexec/postgresql" + major,       // Alpine
		"/usr/local/pgsql/bin",                  // built from source
		"/usr/bin",                              // Fedora, Arch
		"/opt/homebrew/opt/postgresql@18/bin",   // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@18/bin",      // Homebrew on Intel, FreeBSD
		"/Applications/Postgres.app/Contents/Versions/" + major + "/bin",
	}
}

// above returns the folders from which a person would expect node_modules to be
// seen: the working folder and the program's own.
func above() []string {
	var dirs []string
	if dir, err := os.Getwd(); err == nil {
		dirs = append(dirs, dir)
	}
	if file, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(file); err == nil {
			file = real
		}
		dirs = append(dirs, filepath.Dir(file))
	}
	return dirs
}

// denied says whether an error is about rights, on the program or on the way.
func denied(err error) bool { return errors.Is(err, fs.ErrPermission) }
