package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// archive compresses a tar of the given members.
func archive(t *testing.T, members ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zw, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for _, h := range members {
		if h.Mode == 0 {
			h.Mode = 0o777
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(tw, strings.NewReader(strings.Repeat("x", int(h.Size))), h.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 3} }
func dir(name string) *tar.Header  { return &tar.Header{Typeflag: tar.TypeDir, Name: name} }
func symlink(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

func TestUnpackRefusesWhatWouldLeaveItsFolder(t *testing.T) {
	t.Parallel()
	for name, members := range map[string][]*tar.Header{
		"parent":                  {file("../evil")},
		"parent further in":       {dir("a"), file("a/../../evil")},
		"absolute":                {file("/tmp/evil")},
		"the folder itself":       {dir(".")},
		"empty name":              {file("")},
		"link to the parent":      {symlink("a", "..")},
		"link to here":            {symlink("a", ".")},
		"absolute link":           {symlink("a", "/etc/passwd")},
		"link up and down":        {dir("d"), symlink("d/a", "../../x")},
		"file through a link":     {symlink("a", "b"), file("a/evil")},
		"file over a link":        {symlink("a", "b"), file("a")},
		"the same name twice":     {file("a"), file("a")},
		"hard link":               {file("b"), {Typeflag: tar.TypeLink, Name: "a", Linkname: "b"}},
		"device":                  {{Typeflag: tar.TypeChar, Name: "a", Devmajor: 1, Devminor: 3}},
		"pipe":                    {{Typeflag: tar.TypeFifo, Name: "a"}},
		"file in a missing place": {file("no/such/folder")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			if err := Unpack(archive(t, members...), filepath.Join(top, "dst")); err == nil {
				t.Error("unpacked without an error")
			}
			entries, err := os.ReadDir(top)
			if err != nil || len(entries) != 1 {
				t.Errorf("%v lie beside the folder (%v)", entries, err)
			}
		})
	}
}

func TestUnpackRefusesBrokenAndEndlessArchives(t *testing.T) {
	t.Parallel()
	whole := archive(t, file("a"), file("b"))
	many := make([]*tar.Header, maxMembers+1)
	for i := range many {
		many[i] = symlink("l"+strings.Repeat("i", i%200)+string(rune('a'+i/200%26))+string(rune('a'+i/5200)), "x")
	}
	var bomb bytes.Buffer
	zw, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: maxBytes + 1}); err != nil {
		t.Fatal(err)
	}
	_ = zw.Close()
	for name, data := range map[string][]byte{
		"empty": nil, "not zstd": []byte("hello, hello, hello"), "cut short": whole[:len(whole)/2],
		"too many members": archive(t, many...), "too many bytes": bomb.Bytes(),
	} {
		err := Unpack(data, filepath.Join(t.TempDir(), "dst"))
		if err == nil {
			t.Errorf("%s: unpacked without an error", name)
		}
	}
	existing := t.TempDir()
	if err := Unpack(whole, existing); err == nil {
		t.Error("unpacked into a folder that was there")
	}
}

func TestUnpackedFilesAreReadableByAllAndWritableByTheOwnerOnly(t *testing.T) {
	t.Parallel()
	dst := filepath.Join(t.TempDir(), "dst")
	setuid := file("bin/postgres")
	setuid.Mode = 0o6777
	plain := file("plain")
	plain.Mode = 0o600
	if err := Unpack(archive(t, dir("bin/"), setuid, plain, symlink("link", "plain")), dst); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := filepath.WalkDir(dst, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(dst, name)
		got[rel] = info.Mode().String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{".": "drwxr-xr-x", "bin": "drwxr-xr-x", "bin/postgres": "-rwxr-xr-x", "plain": "-rw-r--r--", "link": got["link"]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

// newPackage makes a small npm package like the real one.
func newPackage(t *testing.T) string {
	t.Helper()
	pkg := t.TempDir()
	for name, text := range map[string]string{
		"package.json":                            "{}",
		"LICENSE.md":                              "licence",
		"native/pg-symlinks.json":                 `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"},{"source":"native/lib/libecpg.so.6.18","target":"native/lib/libecpg.so.6"}]`,
		"native/bin/postgres":                     "program",
		"native/lib/libpq.so.5.18":                "library",
		"native/lib/libpq.a":                      "static library",
		"native/lib/libecpg.so.6.18":              "compiler's library",
		"native/lib/pkgconfig/libpq.pc":           "build file",
		"native/lib/postgresql/pgxs/src/Makefile": "build file",
		"native/lib/postgresql/plperl.so":         "language",
		"native/lib/postgresql/plpgsql.so":        "language we need",
		"native/share/extension/plpython3u.sql":   "language",
	} {
		path := filepath.Join(pkg, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(pkg, "native/bin/postgres"), 0o755); err != nil {
		t.Fatal(err)
	}
	return pkg
}

func TestAPackedPackageComesOutPrunedAndWithItsLinks(t *testing.T) {
	t.Parallel()
	pkg := newPackage(t)
	var packed bytes.Buffer
	if err := Pack(&packed, pkg, zstd.SpeedFastest); err != nil {
		t.Fatal(err)
	}
	unpacked, copied := filepath.Join(t.TempDir(), "u"), filepath.Join(t.TempDir(), "c")
	if err := Unpack(packed.Bytes(), unpacked); err != nil {
		t.Fatal(err)
	}
	if err := Copy(pkg, copied); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"LICENSE.md", "bin", "bin/postgres", "lib", "lib/libpq.so.5", "lib/libpq.so.5.18", "lib/postgresql", "lib/postgresql/plpgsql.so", "share", "share/extension",
	}
	for _, dir := range []string{unpacked, copied} {
		var got []string
		err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
			if rel, _ := filepath.Rel(dir, name); rel != "." {
				got = append(got, filepath.ToSlash(rel))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
		text, err := os.ReadFile(filepath.Join(dir, "lib", "libpq.so.5"))
		if err != nil || string(text) != "library" {
			t.Errorf("the link leads to %q (%v)", text, err)
		}
	}
}

func TestCopyReportsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	if err := Copy(filepath.Join(t.TempDir(), "nowhere"), filepath.Join(t.TempDir(), "dst")); err == nil {
		t.Error("copied a package that is not there")
	}
	existing := t.TempDir()
	if err := Copy(newPackage(t), existing); err == nil {
		t.Error("copied over a folder that was there")
	}
}

func TestListedLinksMayNotLeaveTheirFolder(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		`[{"source":"native/lib/a","target":"native/bin/b"}]`,
		`[{"source":"../../etc/passwd","target":"native/lib/b"}]`,
		`[{"source":"../x","target":"../y"}]`,
		`[{"source":"a","target":"b"}]`,
		`not json`,
	} {
		pkg := newPackage(t)
		if err := os.WriteFile(filepath.Join(pkg, "native", "pg-symlinks.json"), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := MakeLinks(pkg); err == nil {
			t.Errorf("%s: links were made", list)
		}
		if err := Pack(io.Discard, pkg, zstd.SpeedFastest); err == nil {
			t.Errorf("%s: links were packed", list)
		}
	}
}

func TestBuildIsReproducibleAndSkipsWorkThatIsDone(t *testing.T) {
	t.Parallel()
	pkg := newPackage(t)
	out := t.TempDir()
	build := func(name string) (written bool, sum [32]byte) {
		written, err := Build(filepath.Join(out, name), pkg)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return written, sha256.Sum256(data)
	}
	firstWritten, first := build("one")
	// The same content with other times and existing links is the same bundle.
	if err := os.Chtimes(filepath.Join(pkg, "native/bin/postgres"), time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := MakeLinks(pkg); err != nil {
		t.Fatal(err)
	}
	otherWritten, other := build("two")
	if !firstWritten || !otherWritten || first != other {
		t.Error("the same package gave two different bundles")
	}
	if written, _ := build("one"); written {
		t.Error("an up-to-date bundle was written again")
	}
	if err := os.WriteFile(filepath.Join(pkg, "native/bin/postgres"), []byte("PROGRAM"), 0o755); err != nil {
		t.Fatal(err)
	}
	if written, changed := build("one"); !written || changed == first {
		t.Error("a change of one file's content was not noticed")
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v lie in the output folder (%v), want two bundles", entries, err)
	}
	if _, err := Build(filepath.Join(out, "three"), filepath.Join(out, "no package")); err == nil {
		t.Error("built from a package that is not there")
	}
}
