//go:build embedpg

package bundle

import _ "embed" // for the archive

//go:embed pg-darwin-arm64.tar.zst
var embedded []byte
