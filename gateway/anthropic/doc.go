// Package anthropic knows the Anthropic Messages dialect as far as a gateway
// must: what a request may cost at most, which bytes of it to replace, what the
// answer says was used, and how the dialect words a refusal.
//
// It never decodes a body into values and writes it anew: what it does not know
// passes through unchanged. It holds no connection, reads no clock and knows no
// prices.
package anthropic

import (
	"encoding/json"
	"net/http"

	"github.com/genericcorp/corp/gateway/wire"
)

// Key returns the credential that a client sent, whichever of the two headers
// it used, or "".
func Key(h http.Header) string {
	if key := h.Get("X-Api-Key"); key != "" {
		return key
	}
	return wire.Bearer(h)
}

// Authorize puts the vendor's key, if it has one, in place of whatever the client sent.
func Authorize(h http.Header, key string) {
	h.Del("Authorization")
	h.Del("X-Api-Key")
	if key != "" {
		h.Set("X-Api-Key", key)
	}
}

// errorTypes are the vendor's names for what went wrong, by HTTP status. 402 is
// one that its clients show and do not try again.
var errorTypes = map[int]string{
	http.StatusBadRequest:            "invalid_request_error",
	http.StatusUnauthorized:          "authentication_error",
	http.StatusPaymentRequired:       "billing_error",
	http.StatusForbidden:             "permission_error",
	http.StatusNotFound:              "not_found_error",
	http.StatusMethodNotAllowed:      "invalid_request_error",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusUnsupportedMediaType:  "invalid_request_error",
	http.StatusTooManyRequests:       "rate_limit_error",
	http.StatusServiceUnavailable:    "overloaded_error",
}

// Refusal returns an error body as the vendor words it.
func Refusal(status int, message, requestID string) []byte {
	kind, ok := errorTypes[status]
	if !ok {
		kind = "api_error"
	}
	type problem struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(struct {
		Type      string  `json:"type"`
		Error     problem `json:"error"`
		RequestID string  `json:"request_id"`
	}{"error", problem{kind, message}, requestID})
	if err != nil {
		return []byte(`{"type":"error","error":{"type":"api_error","message":"Internal error"}}`) // unreachable: texts have a JSON form
	}
	return body
}
