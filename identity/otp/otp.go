// Package otp is the second factor: one-time codes from an app (TOTP, RFC 6238,
// with what every app takes: SHA-1, six digits, thirty seconds) and recovery
// codes for when the app is gone.
//
// It computes and compares. It keeps no state: which step was used last comes in
// and goes out, and whoever stores it must refuse to store an older one. It sees
// no clock but the time that it is given.
package otp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // G505: what RFC 6238 and the apps use; HMAC does not need collision resistance
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// SecretBytes is the length of a secret: RFC 4226 recommends that of SHA-1.
const SecretBytes = 20

const (
	digits  = 6
	modulus = 1_000_000
	period  = 30 // seconds
	skew    = 1  // steps to either side: clocks of telephones are wrong
)

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewSecret draws a secret.
func NewSecret() []byte {
	secret := make([]byte, SecretBytes)
	_, _ = rand.Read(secret) // crypto/rand.Read never fails
	return secret
}

// Text returns a secret as people type it: base32.
func Text(secret []byte) string { return encoding.EncodeToString(secret) }

// URL returns what an app reads from a picture: otpauth://totp/….
func URL(secret []byte, issuer, account string) string {
	clean := strings.NewReplacer(":", " ") // the colon stands between the two
	label := url.PathEscape(clean.Replace(issuer) + ":" + clean.Replace(account))
	query := url.Values{"secret": {Text(secret)}, "issuer": {clean.Replace(issuer)}, "algorithm": {"SHA1"}, "digits": {fmt.Sprint(digits)}, "period": {fmt.Sprint(period)}}
	return "otpauth://totp/" + label + "?" + strings.ReplaceAll(query.Encode(), "+", "%20") // apps take a plus for a plus
}

// Step returns which period the time is in.
func Step(at time.Time) int64 { return at.Unix() / period }

// Code returns the code of one step.
func Code(secret []byte, step int64) string {
	return fmt.Sprintf("%0*d", digits, truncated(secret, step)%modulus)
}

// truncated is HOTP (RFC 4226) without its last step.
func truncated(secret []byte, counter int64) uint32 {
	mac := hmac.New(sha1.New, secret)
	_ = binary.Write(mac, binary.BigEndian, counter) // a hash never fails
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	return binary.BigEndian.Uint32(sum[at:]) & 0x7fff_ffff
}

// Verify says whether the code is right at a time, and of which step: the one to
// store. Steps up to last, the newest that was used, are over: a code that
// somebody watched being typed is worth nothing. Spaces in a code are passed over.
func Verify(secret []byte, code string, at time.Time, last int64) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "")
	if len(code) != digits || len(secret) == 0 {
		return 0, false
	}
	now := Step(at)
	for s := now - skew; s <= now+skew; s++ {
		// All are computed, whichever is right.
		if subtle.ConstantTimeCompare([]byte(Code(secret, s)), []byte(code)) == 1 && s > last && !ok {
			step, ok = s, true
		}
	}
	return step, ok
}
