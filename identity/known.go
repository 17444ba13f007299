package identity

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
)

// A browser in which somebody has signed in, or set a password by mail, keeps a sealed note of
// that. With it, strangers' failures elsewhere do not hold them up, and only its own do: whoever
// knows an address cannot keep its owner out. It proves nothing else, so it needs no end.

const sealedAs = "known browser"

// remember is the note for a browser of whoever has an address.
func (f *Flows) remember(email string) string {
	return base64.RawURLEncoding.EncodeToString(f.Ring.Seal([]byte(f.digest(email)+" "+rand.Text()), sealedAs))
}

// recall is what a browser that brings a note is called when it tries to be whoever has the
// address; empty for every other browser, and every other address.
func (f *Flows) recall(email, note string) string {
	sealed, err := base64.RawURLEncoding.DecodeString(note)
	if err != nil {
		return ""
	}
	plain, err := f.Ring.Open(sealed, sealedAs)
	if err != nil {
		return ""
	}
	account, name, _ := strings.Cut(string(plain), " ")
	if account != f.digest(email) {
		return ""
	}
	return name
}
