package otp_test

import (
	"crypto/sha256"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp/identity/otp"
)

// rfc is the secret of RFC 6238's appendix B and RFC 4226's appendix D.
var rfc = []byte("12345678901234567890")

// The appendix has eight digits; six are the last six of them.
func TestTheRFCsVectors(t *testing.T) {
	t.Parallel()
	for unix, code := range map[int64]string{59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130"} {
		if got := otp.Code(rfc, otp.Step(time.Unix(unix, 0))); got != code[2:] {
			t.Errorf("at %d: %s, want %s", unix, got, code[2:])
		}
	}
	for counter, code := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := otp.Code(rfc, int64(counter)); got != code {
			t.Errorf("counter %d: %s, want %s", counter, got, code)
		}
	}
}

func TestACodeHoldsOneStepToEitherSideAndOnce(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_015, 0)
	step := otp.Step(now)
	for off := int64(-5); off <= 5; off++ {
		got, ok := otp.Verify(rfc, otp.Code(rfc, step+off), now, 0)
		if want := off >= -1 && off <= 1; ok != want || ok && got != step+off {
			t.Errorf("%d steps off: %v at step %d", off, ok, got-step)
		}
	}
	// Used once, and nothing older after it.
	if _, ok := otp.Verify(rfc, otp.Code(rfc, step), now, step); ok {
		t.Error("a code is taken twice")
	}
	if _, ok := otp.Verify(rfc, otp.Code(rfc, step-1), now, step); ok {
		t.Error("an older code is taken after a newer one")
	}
	if got, ok := otp.Verify(rfc, otp.Code(rfc, step+1), now, step); !ok || got != step+1 {
		t.Error("the next code is not taken")
	}
}

func TestWhatIsNoCodeIsRefused(t *testing.T) {
	t.Parallel()
	now := time.Unix(59, 0)
	if _, ok := otp.Verify(rfc, "287 082", now, 0); !ok {
		t.Error("a code with a space is refused")
	}
	for _, bad := range []string{"", "287083", "28708", "2870820", "94287082", "+87082", "２８７０８２", "-00001", "0x1234", strings.Repeat("0", 1<<16)} {
		if _, ok := otp.Verify(rfc, bad, now, 0); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, ok := otp.Verify(nil, otp.Code(nil, 1), now, 0); ok {
		t.Error("without a secret there is a right code")
	}
}

func TestAnAppCanReadTheAddress(t *testing.T) {
	t.Parallel()
	secret := otp.NewSecret()
	u, err := url.Parse(otp.URL(secret, "Generic Corp: east&west", "ada+tag@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Generic Corp  east&west:ada+tag@example.com" {
		t.Errorf("%s", u)
	}
	if q := u.Query(); q.Get("secret") != otp.Text(secret) || q.Get("issuer") != "Generic Corp  east&west" || len(q.Get("secret")) != 32 || strings.Contains(u.RawQuery, "+") {
		t.Errorf("%s", u.RawQuery)
	}
}

func TestRecoveryCodesAreStoredAsHashesOfOneSpelling(t *testing.T) {
	t.Parallel()
	hash := func(s string) []byte { sum := sha256.Sum256([]byte(s)); return sum[:] }
	codes, hashes := otp.NewRecoveryCodes(hash)
	if len(codes) != otp.RecoveryCodes || len(hashes) != otp.RecoveryCodes {
		t.Fatalf("%d codes, %d hashes", len(codes), len(hashes))
	}
	seen := map[string]bool{}
	for i, code := range codes {
		if seen[code] || len(code) != 19 {
			t.Errorf("code %d is there twice or too short", i)
		}
		seen[code] = true
		for _, typed := range []string{code, strings.ToUpper(code), strings.ReplaceAll(code, "-", ""), strings.ReplaceAll(code, "-", " ")} {
			if canonical, ok := otp.Recovery(typed); !ok || string(hash(canonical)) != string(hashes[i]) {
				t.Errorf("%q is not recognised", typed)
			}
		}
	}
	for _, bad := range []string{"", "abcd", "abcd-efgh-jkmn-pqr0", "abcd-efgh-jkmn-pqr!", strings.Repeat("a", 17), "recovery:abcdefgh"} {
		if _, ok := otp.Recovery(bad); ok {
			t.Errorf("%q is taken for a recovery code", bad)
		}
	}
}

func FuzzCodes(f *testing.F) {
	f.Add("287082", int64(59), int64(0))
	f.Fuzz(func(t *testing.T, code string, unix, last int64) {
		step, ok := otp.Verify(rfc, code, time.Unix(unix, 0), last)
		if now := otp.Step(time.Unix(unix, 0)); ok && (step <= last || step < now-1 || step > now+1 || otp.Code(rfc, step) != strings.ReplaceAll(code, " ", "")) {
			t.Errorf("%q at %d after %d: step %d", code, unix, last, step)
		}
	})
}
