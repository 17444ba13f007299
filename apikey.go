package corp

import (
	"crypto/rand"
	"hash/crc32"
	"math/big"
	"strings"
	"time"
)

// APIKey is a credential of a workspace. The key itself is shown once, at its
// making; the server keeps a keyed hash of it.
type APIKey struct {
	ID         APIKeyID   `json:"id"`
	Name       string     `json:"name"`
	UserID     UserID     `json:"user_id,omitzero"`    // whose it is; zero for a service key, which is the workspace's own
	Role       Role       `json:"role"`                // a person's key can do no more than the person may at the time
	Scopes     []Action   `json:"scopes,omitempty"`    // what it is narrowed to; empty is all that the role may
	Addresses  []string   `json:"addresses,omitempty"` // networks that it may be used from; empty is anywhere
	Prefix     string     `json:"prefix"`              // what may be shown: "gc_live_AbCd…wxyz"
	Replaces   APIKeyID   `json:"replaces,omitzero"`   // the key that it was made in place of
	CreatedBy  Actor      `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
}

// RevokedKey is a key that the operator has ended: of a workspace, or the
// installation's own.
type RevokedKey struct {
	ID          Actor       `json:"id"`
	Name        string      `json:"name"`
	Role        Role        `json:"role"`
	Prefix      string      `json:"prefix"`                // what is shown of it
	WorkspaceID WorkspaceID `json:"workspace_id,omitzero"` // zero: the installation's own
	UserID      UserID      `json:"user_id,omitzero"`      // whose it was; zero for nobody's
	RevokedAt   time.Time   `json:"revoked_at"`
}

// RevokedKeys are what one leaked key, or one word of the operator, has ended.
type RevokedKeys struct {
	Keys []RevokedKey `json:"keys"`
}

// The prefixes of the credentials: secret scanners and people know them by these.
const (
	KeyPrefixLive    = "gc_live_"    // an API key
	KeyPrefixTest    = "gc_test_"    // an API key of an installation that is not for production
	KeyPrefixRun     = "gc_run_"     // what an agent's model calls carry
	KeyPrefixRunner  = "gc_runner_"  // a runner's
	KeyPrefixLease   = "gc_lease_"   // the secret of one lease
	KeyPrefixOp      = "gc_op_"      // the operator's
	KeyPrefixSession = "gc_session_" // a browser's cookie
	KeyPrefixRefresh = "gc_refresh_" // what a command line gets new access tokens for
	KeyPrefixLink    = "gc_link_"    // what a mail's link proves
	KeyPrefixDevice  = "gc_device_"  // a command line that waits to be let in
)

var secretPrefixes = []string{
	KeyPrefixLive, KeyPrefixTest, KeyPrefixRunner, KeyPrefixRun, KeyPrefixLease, KeyPrefixOp,
	KeyPrefixSession, KeyPrefixRefresh, KeyPrefixLink, KeyPrefixDevice,
}

const (
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	secretLength = 30 // 178 bits
	checkLength  = 6  // CRC32 in base 62
)

// NewSecret makes a credential: the prefix, 30 random base62 characters and a
// checksum, so that a mistyped key is refused without a look-up.
func NewSecret(prefix string) string {
	body := make([]byte, 0, secretLength)
	var buf [64]byte
	for len(body) < secretLength {
		_, _ = rand.Read(buf[:]) // crypto/rand.Read never fails
		for _, b := range buf {
			// 248 is the largest multiple of 62 in a byte: below it the remainder is uniform.
			if b < 248 && len(body) < secretLength {
				body = append(body, base62[b%62])
			}
		}
	}
	return prefix + string(body) + checksum(prefix+string(body))
}

// SecretOf makes the credential that a seed of uniform bytes stands for: the same
// seed makes the same one, in NewSecret's form.
func SecretOf(prefix string, seed [32]byte) string {
	// The seed as a number, written in base 62; what 30 digits do not hold is left.
	var body [secretLength]byte
	n, rest, base := new(big.Int).SetBytes(seed[:]), new(big.Int), big.NewInt(62)
	for i := range body {
		n.DivMod(n, base, rest)
		body[i] = base62[rest.Int64()]
	}
	return prefix + string(body[:]) + checksum(prefix+string(body[:]))
}

// SecretPrefix returns which kind of credential s is, and whether its checksum
// holds. An unknown prefix is "".
func SecretPrefix(s string) (prefix string, ok bool) {
	for _, p := range secretPrefixes {
		if body, found := strings.CutPrefix(s, p); found {
			if len(body) != secretLength+checkLength {
				return p, false
			}
			cut := len(s) - checkLength
			return p, checksum(s[:cut]) == s[cut:]
		}
	}
	return "", false
}

// ShownSecret returns what may be shown of a credential.
func ShownSecret(s string) string {
	prefix, ok := SecretPrefix(s)
	if !ok {
		return "…"
	}
	return s[:len(prefix)+4] + "…" + s[len(s)-4:]
}

func checksum(s string) string {
	sum := crc32.ChecksumIEEE([]byte(s))
	var out [checkLength]byte
	for i := checkLength - 1; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return string(out[:])
}
