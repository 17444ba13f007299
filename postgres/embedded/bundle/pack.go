package bundle

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// window is how far back the compressor looks, in bytes. The reader allows no
// more, so that an archive cannot make it ask for all memory.
const window = 32 << 20

// Pack writes the archive of the npm package in folder pkg: its native folder
// without what a server does not need, and with the missing links. The level
// trades time for size; any archive unpacks alike.
func Pack(w io.Writer, pkg string, level zstd.EncoderLevel) error {
	zw, err := zstd.NewWriter(w,
		zstd.WithEncoderLevel(level),
		zstd.WithWindowSize(window),
		zstd.WithEncoderConcurrency(1)) // one order of blocks, one result
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	if err := writeTree(zw, pkg); err != nil {
		_ = zw.Close()
		return err
	}
	if err := zw.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// Copy puts into the new folder dst what Pack and Unpack would, without the
// compression in between.
func Copy(pkg, dst string) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeTree(w, pkg)) }()
	err := untar(r, dst)
	// Whatever untar left unread must not keep the writer waiting.
	_ = r.CloseWithError(io.ErrClosedPipe)
	return err
}

// entry is one member of the archive.
type entry struct {
	name string // slash-separated
	file string // the file on disk; empty for folders and links
	link string // the target, for links
	mode fs.FileMode
	size int64
}

func writeTree(w io.Writer, pkg string) error {
	entries, err := list(pkg)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, e := range entries {
		if err := e.write(tw); err != nil {
			return fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// list returns the members in the order of their names: stamp and content
// depend on nothing else.
func list(pkg string) ([]entry, error) {
	native := filepath.Join(pkg, "native")
	var entries []entry
	err := filepath.WalkDir(native, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == native {
			return err
		}
		rel, err := filepath.Rel(native, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if unneeded(name) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		e, err := newEntry(name, file, d)
		if err == nil {
			entries = append(entries, e)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list package: %w", err)
	}
	links, err := readLinks(pkg)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		present := slices.ContainsFunc(entries, func(e entry) bool { return e.name == l.name })
		if !present && !unneeded(l.name) {
			entries = append(entries, entry{name: l.name, link: l.target})
		}
	}
	if info, err := os.Stat(filepath.Join(pkg, "LICENSE.md")); err == nil {
		entries = append(entries, entry{name: "LICENSE.md", file: filepath.Join(pkg, "LICENSE.md"), mode: 0o644, size: info.Size()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

func newEntry(name, file string, d fs.DirEntry) (entry, error) {
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	switch {
	case d.IsDir():
		return entry{name: name, mode: fs.ModeDir | 0o755}, nil
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(file)
		return entry{name: name, link: target}, err
	case info.Mode().IsRegular():
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		return entry{name: name, file: file, mode: mode, size: info.Size()}, nil
	default:
		return entry{}, fmt.Errorf("%s is neither a file, a folder nor a link", name)
	}
}

// unneeded says whether a server never looks at a member: static libraries,
// build files, the embedded-SQL compiler, and languages that need an
// interpreter of the host.
func unneeded(name string) bool {
	if strings.HasSuffix(name, ".a") || name == "pg-symlinks.json" {
		return true
	}
	return slices.ContainsFunc([]string{"/pgxs", "/pkgconfig", "libecpg", "libpgtypes", "plperl", "plpython", "pltcl"}, func(part string) bool {
		return strings.Contains(name, part)
	})
}

func (e entry) write(tw *tar.Writer) error {
	header := &tar.Header{
		Name: e.name, Mode: int64(e.mode.Perm()), Size: e.size,
		ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	switch {
	case e.link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
	case e.mode.IsDir():
		header.Typeflag = tar.TypeDir
	default:
		header.Typeflag = tar.TypeReg
	}
	if err := tw.WriteHeader(header); err != nil || e.file == "" {
		return err
	}
	f, err := os.Open(e.file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(tw, f)
	return err
}
