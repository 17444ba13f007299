package vendorsim

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// statusOverloaded is the vendor's own status for "busy, come again".
const statusOverloaded = 529

var errorTypes = map[int]string{
	http.StatusBadRequest:            "invalid_request_error",
	http.StatusUnauthorized:          "authentication_error",
	http.StatusPaymentRequired:       "billing_error",
	http.StatusForbidden:             "permission_error",
	http.StatusNotFound:              "not_found_error",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusTooManyRequests:       "rate_limit_error",
	http.StatusInternalServerError:   "api_error",
	http.StatusServiceUnavailable:    "overloaded_error",
	http.StatusGatewayTimeout:        "timeout_error",
	statusOverloaded:                 "overloaded_error",
}

var errorTexts = map[int]string{
	http.StatusBadRequest:            "The request is not valid.",
	http.StatusUnauthorized:          "invalid x-api-key",
	http.StatusPaymentRequired:       "Your credit balance is too low to access the API.",
	http.StatusTooManyRequests:       "This request would exceed your account's rate limit. Please try again later.",
	http.StatusInternalServerError:   "Internal server error",
	http.StatusServiceUnavailable:    "Overloaded",
	http.StatusRequestEntityTooLarge: "Request exceeds the maximum size",
	statusOverloaded:                 "Overloaded",
}

// vendorError is a refusal as the vendor would send it.
type vendorError struct {
	status     int
	kind       string // of the dialect; empty for the one that goes with the status
	message    string
	param      string // Chat Completions: the parameter at fault
	code       string // Chat Completions: a word for programs
	retryAfter *time.Duration
	headers    map[string]string
}

func refuse(status int, format string, args ...any) *vendorError {
	return &vendorError{status: status, message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *vendorError {
	return refuse(http.StatusBadRequest, format, args...)
}

// appendErrorBody appends the JSON of a refusal.
func appendErrorBody(dst []byte, kind, message, requestID string) []byte {
	dst = append(dst, `{"type":"error","error":{"type":`...)
	dst = appendString(dst, kind)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, message)
	dst = append(dst, `},"request_id":`...)
	dst = appendString(dst, requestID)
	return append(dst, '}')
}

// writeError sends the refusal. The client may be gone, which is its own affair.
func (messagesDialect) writeError(e *vendorError, w http.ResponseWriter, requestID string) {
	h := w.Header()
	if e.status == http.StatusTooManyRequests || e.status >= http.StatusInternalServerError {
		h.Set("X-Should-Retry", "true")
	}
	if e.status == http.StatusTooManyRequests {
		h.Set("Anthropic-Ratelimit-Requests-Remaining", "0")
	}
	e.addHeaders(h)
	writeJSON(w, e.status, appendErrorBody(nil, orText(e.kind, errorTypes[e.status]), e.message, requestID))
}

func (e *vendorError) addHeaders(h http.Header) {
	if e.retryAfter != nil {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(e.retryAfter.Seconds())), 10))
	}
	for name, value := range e.headers {
		h.Set(name, value)
	}
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	//nolint:errcheck // the client may be gone; there is no one left to tell
	w.Write(body)
}
