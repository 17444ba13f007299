// Package openai knows the OpenAI Chat Completions dialect as far as a gateway
// must: what a request may cost at most, which bytes of it to replace, what the
// answer says was used, and how the dialect words a refusal. Many vendors and
// servers of one's own speak it, each a little differently; where they differ it
// takes the reading that costs more.
//
// It never decodes a body into values and writes it anew: what it does not know
// passes through unchanged. It holds no connection, reads no clock and knows no
// prices.
package openai

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/tidwall/gjson"

	"github.com/genericcorp/corp/gateway/wire"
)

// Key returns the credential that a client sent, or "".
func Key(h http.Header) string { return wire.Bearer(h) }

// Authorize puts the vendor's key in place of whatever the client sent. Servers
// of one's own often take no key: then none is sent.
func Authorize(h http.Header, key string) {
	h.Del("X-Api-Key")
	h.Del("Authorization")
	if key != "" {
		h.Set("Authorization", "Bearer "+key)
	}
}

// clientVersion begins every path that a client asks for.
const clientVersion = "/v1"

// Path returns the path at the vendor for one that a client asked for. A base
// URL is what the dialect's clients are given, with whatever version it ends in;
// one without a path means the usual version.
func Path(base *url.URL, asked string) string {
	if base.Path == "" || base.Path == "/" {
		return asked
	}
	return base.Path + asked[len(clientVersion):]
}

// wording is the vendor's type and code of what went wrong.
type wording struct {
	Type string
	Code any // a text or nil
}

// wordings are by HTTP status. 402 is not of the vendor's own, but what it says
// of an empty account: its clients show it and do not try again.
var wordings = map[int]wording{
	http.StatusBadRequest:            {"invalid_request_error", nil},
	http.StatusUnauthorized:          {"invalid_request_error", "invalid_api_key"},
	http.StatusPaymentRequired:       {"insufficient_quota", "insufficient_quota"},
	http.StatusForbidden:             {"permission_error", nil},
	http.StatusNotFound:              {"invalid_request_error", "model_not_found"},
	http.StatusMethodNotAllowed:      {"invalid_request_error", nil},
	http.StatusRequestEntityTooLarge: {"invalid_request_error", "request_too_large"},
	http.StatusUnsupportedMediaType:  {"invalid_request_error", nil},
	http.StatusTooManyRequests:       {"requests", "rate_limit_exceeded"},
}

// Refusal returns an error body as the vendor words it.
func Refusal(status int, message string) []byte {
	w, ok := wordings[status]
	if !ok {
		w = wording{"server_error", nil}
	}
	type problem struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    any     `json:"code"`
	}
	body, err := json.Marshal(struct {
		Error problem `json:"error"`
	}{problem{Message: message, Type: w.Type, Code: w.Code}})
	if err != nil {
		return []byte(`{"error":{"message":"Internal error","type":"server_error","param":null,"code":null}}`) // unreachable: texts have a JSON form
	}
	return body
}

const maxError = 8 << 10 // of an error body

// Problem returns what the beginning of an error body says, as "type: message",
// or "" when it is in none of the forms that servers of this dialect use.
func Problem(body []byte) string {
	if len(body) > maxError || !wire.Valid(body) {
		return ""
	}
	return problem(gjson.ParseBytes(body))
}

func problem(body gjson.Result) string {
	e := body.Get("error")
	if body.IsArray() { // some send a list with one error
		e = body.Get("0.error")
	}
	switch {
	case e.Type == gjson.String:
		return e.Str
	case !e.IsObject() && body.Get("object").Str == "error":
		e = body
	case !e.IsObject():
		return ""
	}
	kind, message := e.Get("code"), e.Get("message").String()
	if kind.Type == gjson.Null {
		kind = e.Get("type")
	}
	if kind.String() == "" {
		return message
	}
	return kind.String() + ": " + message
}
