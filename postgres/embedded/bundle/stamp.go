package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// An archive begins with a frame that decompressors skip. It holds the hash of
// what was packed, so that whether an archive is up to date is a matter of
// reading the package once, not of compressing it again.
const (
	skippable = 0x184D2A5C // one of the sixteen magic numbers of skippable frames
	format    = "corp bundle 1\n"
)

// Build writes the archive of the npm package in folder pkg to file, unless
// the file is that archive already. It reports whether it wrote. The file is
// replaced as a whole or not at all.
func Build(file, pkg string) (written bool, err error) {
	stamp, err := newStamp(pkg)
	if err != nil {
		return false, err
	}
	if hasStamp(file, stamp) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return false, fmt.Errorf("build bundle: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".building-*.tar.zst")
	if err != nil {
		return false, fmt.Errorf("build bundle: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(stamp)
	if err == nil {
		err = Pack(tmp, pkg, zstd.SpeedBestCompression)
	}
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return false, fmt.Errorf("build bundle: %w", err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return false, fmt.Errorf("build bundle: %w", err)
	}
	return true, nil
}

func newStamp(pkg string) ([]byte, error) {
	hash := sha256.New()
	_, _ = io.WriteString(hash, format) // a hash never fails
	if err := writeTree(hash, pkg); err != nil {
		return nil, err
	}
	stamp := binary.LittleEndian.AppendUint32(nil, skippable)
	stamp = binary.LittleEndian.AppendUint32(stamp, sha256.Size)
	return hash.Sum(stamp), nil
}

func hasStamp(file string, stamp []byte) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, len(stamp))
	_, err = io.ReadFull(f, head)
	return err == nil && bytes.Equal(head, stamp)
}
