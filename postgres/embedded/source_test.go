package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/embedded/bundle"
)

// fakeProgram makes a folder with programs that say they are of a version. They
// can be looked at but not run as a server.
func fakeProgram(t *testing.T, version string) string {
	t.Helper()
	dir := newDir(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// newFinder returns a finder that knows no programs yet, with a folder to work in.
func newFinder(t *testing.T) finder {
	t.Helper()
	dir := newDir(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	as, err := chooseAccount("", filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	return finder{store: dir, work: dir, as: as}
}

// npmTree makes a node_modules folder whose package is a fake of a version, and
// returns the folder above it.
func npmTree(t *testing.T, version string) string {
	t.Helper()
	dir := newDir(t)
	pkg := filepath.Join(dir, "node_modules", bundle.PackageName(runtime.GOOS, runtime.GOARCH))
	if err := os.MkdirAll(filepath.Join(pkg, "native"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fakeProgram(t, version), filepath.Join(pkg, "native", "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pkg, "package.json"), []byte(`{"version":"`+version+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTheNewestProgramsOfTheRightMajorAreChosen(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name           string
		bundle, npm    string
		system         []string
		source         Source
		version, error string
	}{
		{name: "bundle before npm", bundle: "18.4", npm: "18.9", source: SourceBundle, version: "18.4"},
		{name: "npm without a bundle", npm: "18.4", source: SourceNPM, version: "18.4"},
		{name: "newer system before bundle", bundle: "18.4", system: []string{"18.6"}, source: SourceSystem, version: "18.6"},
		{name: "newer system before npm", npm: "18.4", system: []string{"18.10"}, source: SourceSystem, version: "18.10"},
		{name: "bundle before equal system", bundle: "18.4", system: []string{"18.4"}, source: SourceBundle, version: "18.4"},
		{name: "bundle before older system", bundle: "18.4", system: []string{"18.2"}, source: SourceBundle, version: "18.4"},
		{name: "newest of several systems", system: []string{"18.2", "18.11", "18.9"}, source: SourceSystem, version: "18.11"},
		{name: "a newer major is no candidate", npm: "18.4", system: []string{"19.1"}, source: SourceNPM, version: "18.4"},
		{name: "an older major is no candidate", system: []string{"15.18"}, error: "No PostgreSQL 18"},
		{name: "nothing at all", error: "No PostgreSQL 18"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFinder(t)
			if c.bundle != "" {
				var packed bytes.Buffer
				pkg := bundle.Find(npmTree(t, c.bundle), bundle.PackageName(runtime.GOOS, runtime.GOARCH))
				if err := bundle.Pack(&packed, pkg, zstd.SpeedFastest); err != nil {
					t.Fatal(err)
				}
				f.archive = packed.Bytes()
			}
			if c.npm != "" {
				f.above = []string{npmTree(t, c.npm)}
			}
			for _, v := range c.system {
				f.system = append(f.system, fakeProgram(t, v))
			}
			got, err := f.find(deadline(t))
			if c.error != "" {
				if corp.KindOf(err) != corp.KindUnavailable || !strings.Contains(err.Error(), c.error) {
					t.Fatalf("find: %v, want unavailable: %s", err, c.error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.source != c.source || got.version.String() != c.version {
				t.Errorf("found %s %s, want %s %s", got.source, got.version, c.source, c.version)
			}
		})
	}
}

func TestExplicitProgramsAreUsedOrRefusedButNeverReplaced(t *testing.T) {
	t.Parallel()
	f := newFinder(t)
	f.above = []string{npmTree(t, "18.9")}
	f.binDir = fakeProgram(t, "18.1")
	if got, err := f.find(deadline(t)); err != nil || got.source != SourceExplicit || got.version.minor != 1 {
		t.Errorf("found %s %s (%v), want the explicit 18.1", got.source, got.version, err)
	}
	for _, dir := range []string{fakeProgram(t, "15.18"), filepath.Join(f.work, "nowhere")} {
		f.binDir = dir
		if _, err := f.find(deadline(t)); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("find with %s: %v, want an invalid folder", dir, err)
		}
	}
}

func TestTheBundleIsUnpackedOnceAndRuns(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	if err := bundle.Pack(&packed, npmPackage(t), zstd.SpeedFastest); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: newDir(t), Logger: logger(t)}
	s, err := start(deadline(t), cfg, finder{archive: packed.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	if s.Source() != SourceBundle || query[int](t, s.AppURL(), "SELECT 1") != 1 {
		t.Errorf("source is %s, want the bundle", s.Source())
	}
	program := s.binaries.program("postgres")
	first, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if first.Mode().Perm()&0o022 != 0 {
		t.Errorf("others may change %s: %v", program, first.Mode().Perm())
	}
	stopServer(t, s)
	old := filepath.Join(cfg.Dir, storePrefix+"0123456789ab")
	if err := os.MkdirAll(filepath.Join(old, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if s, err = start(deadline(t), cfg, finder{archive: packed.Bytes()}); err != nil {
		t.Fatal(err)
	}
	stopServer(t, s)
	second, err := os.Stat(program)
	if err != nil || !os.SameFile(first, second) {
		t.Errorf("the bundle was unpacked again (%v)", err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the programs of an older bundle were kept")
	}
}

func TestABundleThatDoesNotRunGivesWayToTheNextSource(t *testing.T) {
	t.Parallel()
	f := newFinder(t)
	f.archive = []byte("no archive at all")
	f.above = []string{npmTree(t, "18.4")}
	if got, err := f.find(deadline(t)); err != nil || got.source != SourceNPM {
		t.Errorf("found %s (%v), want npm", got.source, err)
	}
	left, err := filepath.Glob(filepath.Join(f.store, storePrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v remain of the broken bundle (%v)", left, err)
	}
}

// realTree makes a node_modules folder with the real package, as npm installs
// it with --ignore-scripts: without links.
func realTree(t *testing.T) (above, native string) {
	t.Helper()
	dir := newDir(t)
	pkg := filepath.Join(dir, "node_modules", bundle.PackageName(runtime.GOOS, runtime.GOARCH))
	if err := os.MkdirAll(filepath.Dir(pkg), 0o755); err != nil {
		t.Fatal(err)
	}
	source := npmPackage(t)
	if err := bundle.Copy(source, filepath.Join(t.TempDir(), "whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(pkg, 0o755); err != nil {
		t.Fatal(err)
	}
	native = filepath.Join(pkg, "native")
	if err := bundle.Copy(source, native); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(source, "native", "pg-symlinks.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"native/pg-symlinks.json": list, "package.json": []byte(`{}`)} {
		if err := os.WriteFile(filepath.Join(pkg, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	libs, err := filepath.Glob(filepath.Join(native, "lib", "*"))
	if err != nil {
		t.Fatal(err)
	}
	removed := 0
	for _, lib := range libs {
		if info, err := os.Lstat(lib); err == nil && info.Mode()&os.ModeSymlink != 0 {
			removed++
			if err := os.Remove(lib); err != nil {
				t.Fatal(err)
			}
		}
	}
	if removed == 0 {
		t.Fatal("the package has no links to miss")
	}
	return dir, native
}

func TestLinksThatNpmDidNotMakeAreMade(t *testing.T) {
	t.Parallel()
	f := newFinder(t)
	dir, native := realTree(t)
	f.above = []string{filepath.Join(dir, "some", "folder", "below")}
	got, err := f.find(deadline(t))
	if err != nil || got.source != SourceNPM || got.dir != filepath.Join(native, "bin") {
		t.Errorf("found %s in %s (%v), want npm in %s", got.source, got.dir, err, native)
	}
}

func TestAPackageOutOfReachIsCopied(t *testing.T) {
	t.Parallel()
	f := newFinder(t)
	dir, native := realTree(t)
	f.above = []string{dir}
	// To root a folder that only root enters is out of reach for PostgreSQL's
	// user; to an ordinary user a folder where no link can be made is.
	closed, mode := dir, os.FileMode(0o700)
	if os.Geteuid() != 0 {
		closed, mode = filepath.Join(native, "lib"), 0o500
	}
	if err := os.Chmod(closed, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(closed, 0o700) })
	got, err := f.find(deadline(t))
	if err != nil || got.source != SourceNPM || !strings.HasPrefix(got.dir, f.store) {
		t.Errorf("found %s in %s (%v), want a copy in %s", got.source, got.dir, err, f.store)
	}
}

func TestFailedStartTellsWhatPostgresSaid(t *testing.T) {
	t.Parallel()
	cfg := quick(t, newDir(t))
	cfg.Settings = map[string]string{"shared_buffers": "plenty"}
	_, err := Start(deadline(t), cfg)
	if err == nil || !strings.Contains(err.Error(), "shared_buffers") {
		t.Errorf("start with a bad setting: %v, want PostgreSQL's own words", err)
	}
	if left := residents(filepath.Join(cfg.Dir, "data")); len(left) > 0 {
		t.Errorf("processes %v remain", left)
	}
	cfg.Settings = map[string]string{"work_mem": "7MB", "application_name": `it's a \ "test"`}
	s := startServer(t, cfg)
	for name, want := range cfg.Settings {
		if got := query[string](t, s.AppURL(), fmt.Sprintf("SELECT reset_val FROM pg_settings WHERE name = '%s'", name)); got != want && name != "work_mem" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := query[string](t, s.AppURL(), "SHOW work_mem"); got != "7MB" {
		t.Errorf("work_mem is %s, want 7MB", got)
	}
}
