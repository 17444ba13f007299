package schema

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

// The exchange of RFC 7677, section 3: with our verifier a server must accept the
// client's proof and answer with the signature given there.
func TestAPasswordIsHashedAsTheStandardSays(t *testing.T) {
	t.Parallel()
	const (
		salt      = "W22ZaJ0SNY7soEsUEjb6gQ=="
		nonce     = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
		auth      = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + nonce + ",s=" + salt + ",i=4096,c=biws,r=" + nonce
		proof     = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		signature = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	verifier, err := scramVerifier("pencil", decode(t, salt))
	if err != nil {
		t.Fatal(err)
	}
	keys, found := strings.CutPrefix(verifier, "SCRAM-SHA-256$4096:"+salt+"$")
	stored, server, cut := strings.Cut(keys, ":")
	if !found || !cut {
		t.Fatalf("verifier %q", verifier)
	}
	mac := func(key []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(auth))
		return h.Sum(nil)
	}
	client := mac(decode(t, stored))
	for i, b := range decode(t, proof) {
		client[i] ^= b
	}
	if sum := sha256.Sum256(client); !bytes.Equal(sum[:], decode(t, stored)) {
		t.Error("the client's proof is not accepted")
	}
	if !bytes.Equal(mac(decode(t, server)), decode(t, signature)) {
		t.Error("the server's signature is another")
	}
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
