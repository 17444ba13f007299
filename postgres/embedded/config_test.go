package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

func TestLongAndOddFoldersWork(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{
		"long":        strings.Repeat("long-folder-name/", 20),
		"longest":     strings.Repeat("n", 255),
		"spaces":      "two words",
		"punctuation": "a,b;c@d%20&e?f#g='h'(i)",
		"unicode":     "Ordner für Größe",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Dir: filepath.Join(filepath.Dir(newDir(t)), part, "pg"), Logger: logger(t), Durable: true}
			if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
				t.Fatal(err)
			}
			s := startServer(t, cfg)
			if query[int](t, s.AppURL(), "SELECT 1") != 1 {
				t.Error("the server does not answer")
			}
			socket := s.socket
			stopServer(t, s)
			if _, err := os.Stat(socket); err == nil {
				t.Errorf("%s remains", socket)
			}
			s = startServer(t, cfg)
			if s.socket != socket {
				t.Errorf("the socket moved from %s to %s", socket, s.socket)
			}
		})
	}
}

func TestASocketFolderSetUpBySomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	self := account{uid: os.Geteuid(), gid: os.Getegid()}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(t.TempDir(), "linked")
	if err := os.Symlink(t.TempDir(), linked); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, linked} {
		if err := privateDir(dir, self); err == nil {
			t.Errorf("%s was taken for a private folder", dir)
		}
	}
	stranger := account{uid: self.uid + 1, gid: self.gid}
	own := t.TempDir()
	if err := os.Chmod(own, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := privateDir(own, stranger); err == nil {
		t.Error("a folder of another user was taken for a private one")
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "pg")
	for name, cfg := range map[string]Config{
		"no folder":      {},
		"quote":          {Dir: good + `"`},
		"command":        {Dir: good + "$(touch x)"},
		"backtick":       {Dir: good + "`id`"},
		"newline":        {Dir: good + "\n"},
		"backslash":      {Dir: good + `\`},
		"bad programs":   {Dir: good, BinDir: "/tmp/`id`"},
		"tcp":            {Dir: good, Settings: map[string]string{"listen_addresses": "*"}},
		"other folder":   {Dir: good, Settings: map[string]string{"data_directory": "/tmp"}},
		"other rules":    {Dir: good, Settings: map[string]string{"hba_file": "/tmp/x"}},
		"two lines":      {Dir: good, Settings: map[string]string{"work_mem": "1MB'\nlisten_addresses = '*"}},
		"name with line": {Dir: good, Settings: map[string]string{"work_mem = '1MB'\nport": "1"}},
		"capital name":   {Dir: good, Settings: map[string]string{"Listen_Addresses": "*"}},
	} {
		if _, err := Start(t.Context(), cfg); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%s: %v, want an invalid configuration", name, err)
		}
	}
	if _, err := os.Stat(good); err == nil {
		t.Error("a refused configuration made its folder")
	}
}

func TestALargeLogIsPutAside(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "postgres.log")
	grow := func() {
		if err := os.WriteFile(name, []byte("first\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, maxLog+1); err != nil {
			t.Fatal(err)
		}
	}
	grow()
	for range 2 { // the second replaces what the first put aside
		grow()
		writer, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := trimLog(name); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.WriteString("after\n"); err != nil {
			t.Fatal(err)
		}
		_ = writer.Close()
		text, err := os.ReadFile(name)
		if err != nil || string(text) != "after\n" {
			t.Errorf("the log holds %d bytes (%v), want only what came after", len(text), err)
		}
	}
	grow()
	f, err := openLog(name)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	for file, size := range map[string]int64{name: 0, name + ".1": maxLog + 1} {
		if info, err := os.Stat(file); err != nil || info.Size() != size {
			t.Errorf("%s: %v, want %d bytes", filepath.Base(file), err, size)
		}
	}
}
