package vendorsim

import (
	"crypto/subtle"
	"net/http"
	"strings"
)

// admit checks the credential and the version, as every vendor route does but the
// probes. The credential is x-api-key or a bearer token, the former if both are there.
func (messagesDialect) admit(s *Server, x *exchange) *vendorError {
	key, bearer := x.r.Header.Get("X-Api-Key"), false
	if key == "" {
		scheme, token, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "Bearer") {
			key, bearer = strings.TrimSpace(token), true
		}
	}
	x.key = key
	switch {
	case key == "":
		return refuse(http.StatusUnauthorized, "x-api-key header is required")
	case !s.accepts(key) && bearer:
		return refuse(http.StatusUnauthorized, "Invalid bearer token")
	case !s.accepts(key):
		return refuse(http.StatusUnauthorized, "invalid x-api-key")
	}
	switch version := x.r.Header.Get("Anthropic-Version"); version {
	case "":
		return invalid("anthropic-version: header is required")
	case "2023-06-01", "2023-01-01":
		return nil
	default:
		return invalid("anthropic-version: %q is not a valid version", version)
	}
}

func (s *Server) accepts(key string) bool {
	ok := len(s.options.Keys) == 0
	for _, k := range s.options.Keys {
		ok = subtle.ConstantTimeCompare([]byte(k), []byte(key)) == 1 || ok
	}
	return ok
}
