//go:build !embedpg || !((linux || darwin) && (amd64 || arm64))

package bundle

var embedded []byte
