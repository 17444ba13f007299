package vendorsim

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// chatFailure is what the vendor says with a status when a fault does not.
type chatFailure struct{ kind, code, message string }

var chatFailures = map[int]chatFailure{
	http.StatusBadRequest:            {"invalid_request_error", "", "The request is not valid."},
	http.StatusUnauthorized:          {"invalid_request_error", "invalid_api_key", "Incorrect API key provided."},
	http.StatusPaymentRequired:       {"insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."},
	http.StatusForbidden:             {"invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"},
	http.StatusNotFound:              {"invalid_request_error", "", "Not Found"},
	http.StatusRequestEntityTooLarge: {"invalid_request_error", "request_too_large", "Request exceeds the maximum size"},
	http.StatusTooManyRequests:       {"requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again later."},
	http.StatusInternalServerError:   {"server_error", "", "The server had an error while processing your request. Sorry about that!"},
	http.StatusServiceUnavailable:    {"server_error", "", "The server is currently overloaded with other requests. Sorry about that! You can retry your request."},
}

// refusal returns what a fault of kind status or error says. An error without a
// status is the vendor's own word for "busy", which here is 503.
func (chatDialect) refusal(f *fault) *vendorError {
	e := f.vendorError()
	if f.status == 0 {
		e.status = http.StatusServiceUnavailable
	}
	std, ok := chatFailures[e.status]
	if !ok {
		std = chatFailure{"server_error", "", http.StatusText(e.status)}
	}
	if e.kind == "" {
		e.kind, e.code = std.kind, std.code
	}
	e.message = orText(e.message, orText(std.message, "The server had an error."))
	return e
}

func (d chatDialect) errorEvent(f *fault, _ string) []byte {
	return append(appendChatError([]byte("data: "), d.refusal(f)), "\n\n"...)
}

func appendChatError(dst []byte, e *vendorError) []byte {
	dst = appendString(append(dst, `{"error":{"message":`...), e.message)
	dst = appendString(append(dst, `,"type":`...), orText(e.kind, orText(chatFailures[e.status].kind, "server_error")))
	for _, x := range []struct{ name, text string }{{"param", e.param}, {"code", e.code}} {
		dst = append(dst, `,"`+x.name+`":`...)
		if x.text == "" {
			dst = append(dst, "null"...)
		} else {
			dst = appendString(dst, x.text)
		}
	}
	return append(dst, "}}"...)
}

// writeError sends the refusal. The client may be gone, which is its own affair.
func (chatDialect) writeError(e *vendorError, w http.ResponseWriter, _ string) {
	h := w.Header()
	if e.status == http.StatusTooManyRequests {
		h.Set("X-Ratelimit-Remaining-Requests", "0")
		h.Set("X-Ratelimit-Reset-Requests", "1s")
	}
	if e.retryAfter != nil {
		h.Set("Retry-After-Ms", strconv.FormatInt(e.retryAfter.Milliseconds(), 10))
	}
	e.addHeaders(h)
	var out bytes.Buffer
	body := appendChatError(nil, e)
	if json.Indent(&out, body, "", "    ") == nil {
		body = append(out.Bytes(), '\n')
	}
	writeJSON(w, e.status, body)
}

// admit checks the credential, which is a bearer token and nothing else.
func (chatDialect) admit(s *Server, x *exchange) *vendorError {
	scheme, token, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		x.key = strings.TrimSpace(token)
	}
	switch {
	case x.key == "":
		return refuse(http.StatusUnauthorized, "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys.")
	case !s.accepts(x.key):
		e := refuse(http.StatusUnauthorized, "Incorrect API key provided: ****%s. You can find your API key at https://platform.openai.com/account/api-keys.", suffix(x.key))
		e.code = "invalid_api_key"
		return e
	}
	return nil
}

// setHeaders sets what every answer has. As with the other dialect the limits do
// not count down.
func (chatDialect) setHeaders(x *exchange) {
	h := x.w.Header()
	for name, value := range map[string]string{
		"X-Request-Id":                   x.id,
		"Openai-Organization":            "org-simulated", //nolint:misspell // the vendor's spelling
		"Openai-Version":                 "2020-10-01",
		"Openai-Processing-Ms":           "1",
		"X-Ratelimit-Limit-Requests":     "10000",
		"X-Ratelimit-Remaining-Requests": "9999",
		"X-Ratelimit-Reset-Requests":     "6ms",
		"X-Ratelimit-Limit-Tokens":       "30000000",
		"X-Ratelimit-Remaining-Tokens":   "29999000",
		"X-Ratelimit-Reset-Tokens":       "2ms",
	} {
		h[name] = []string{value}
	}
}
