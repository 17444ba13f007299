package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Ceilings on what an archive may contain; PostgreSQL is 60 MB in 1,500 files.
const (
	maxBytes   = 1 << 30
	maxMembers = 20_000
)

// Unpack unpacks an archive into dst, a folder that must not exist yet. It
// refuses, with an error, members that would lie outside dst, links that leave
// their own folder, a name that comes twice, and every type but file, folder
// and symbolic link. What it wrote before the error stays.
func Unpack(archive []byte, dst string) error {
	zr, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer zr.Close()
	return untar(zr, dst)
}

func untar(r io.Reader, dst string) error {
	if err := os.Mkdir(dst, 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	root, err := os.OpenRoot(dst)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer func() { _ = root.Close() }()
	// The umask must not hide the programs from the user that runs them.
	if err := root.Chmod(".", 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	u := unpacker{root: root, members: tar.NewReader(r), left: maxBytes}
	for n := range maxMembers {
		done, err := u.next()
		switch {
		case err != nil:
			return err
		case done && n == 0:
			return errors.New("unpack: the archive is empty")
		case done:
			return nil
		}
	}
	return fmt.Errorf("unpack: more than %d members", maxMembers)
}

type unpacker struct {
	root    *os.Root
	members *tar.Reader
	left    int64 // bytes that may still be written
}

// next unpacks one member; done is true after the last.
func (u *unpacker) next() (done bool, err error) {
	h, err := u.members.Next()
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("unpack: %w", err)
	}
	name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
	if !filepath.IsLocal(name) || name == "." {
		return false, fmt.Errorf("unpack: %q lies outside the folder", h.Name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.dir(name)
	case tar.TypeSymlink:
		err = u.link(name, h.Linkname)
	case tar.TypeReg:
		err = u.file(name, h)
	default:
		err = fmt.Errorf("type %q is not allowed", h.Typeflag)
	}
	if err != nil {
		return false, fmt.Errorf("unpack %s: %w", name, err)
	}
	return false, nil
}

func (u *unpacker) dir(name string) error {
	if err := u.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return u.root.Chmod(name, 0o755)
}

func (u *unpacker) link(name, target string) error {
	if target == "" || target == ".." || target == "." || strings.ContainsAny(target, `/\`) {
		return fmt.Errorf("the link to %q leaves its folder", target)
	}
	return u.root.Symlink(target, name)
}

func (u *unpacker) file(name string, h *tar.Header) error {
	if u.left -= h.Size; u.left < 0 {
		return fmt.Errorf("the archive holds more than %d bytes", int64(maxBytes))
	}
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, u.members, h.Size)
	mode := os.FileMode(0o644)
	if h.Mode&0o100 != 0 {
		mode = 0o755
	}
	return errors.Join(err, f.Chmod(mode), f.Close())
}
