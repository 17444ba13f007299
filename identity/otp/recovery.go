package otp

import (
	"crypto/rand"
	"strings"
)

// RecoveryCodes is how many there are at a time.
const RecoveryCodes = 10

const (
	recoveryGroups = 4
	groupLength    = 4 // of 5 bits each: 80 bits a code
	recoveryLength = recoveryGroups * groupLength
	letters        = "abcdefghijkmnpqrstuvwxyz23456789" // base32 without l, o, 0, 1
)

// NewRecoveryCodes draws codes to be shown once ("ab3d-…"), and what to store of
// them: each one's hash.
func NewRecoveryCodes(hash func(string) []byte) (codes []string, hashes [][]byte) {
	for range RecoveryCodes {
		code := newRecoveryCode()
		canonical, _ := Recovery(code)
		codes, hashes = append(codes, code), append(hashes, hash(canonical))
	}
	return codes, hashes
}

func newRecoveryCode() string {
	var random [recoveryLength]byte
	_, _ = rand.Read(random[:]) // crypto/rand.Read never fails
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%groupLength == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[r&31])
	}
	return b.String()
}

// Recovery returns the one spelling of a recovery code that is hashed, whatever
// case and dashes it was typed in, and whether it is one at all.
func Recovery(typed string) (canonical string, ok bool) {
	canonical = strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(typed))
	if len(canonical) != recoveryLength {
		return "", false
	}
	return "recovery:" + canonical, strings.Trim(canonical, letters) == ""
}
