package builtin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

// stop says why a turn ended before the model believed it was done. It travels
// in the turn's answer as _meta.corp, which is what the runner acts on.
type stop struct {
	reason corp.Reason
	detail string // a sentence for people
	claim  acp.StopReason
}

// Error returns the sentence.
func (s *stop) Error() string { return s.detail }

func stopped(reason corp.Reason, format string, args ...any) *stop {
	claim := acp.StopRefusal // nothing in the protocol is nearer to "could not go on"
	if reason == corp.ReasonStepLimit {
		claim = acp.StopMaxTurns
	}
	return &stop{reason: reason, detail: fmt.Sprintf(format, args...), claim: claim}
}

// windowFull is a seam: compaction will take its place.
func windowFull(used, window int) *stop {
	s := stopped(corp.ReasonStepLimit, "The conversation has about %d tokens, which leaves no room for an answer in the model's window of %d. Give the rest as a smaller task.", used, window)
	s.claim = acp.StopMaxTokens
	return s
}

// vendorError is a refusal of the vendor or of the gateway before it.
type vendorError struct {
	status int // 0 when it came inside a stream
	fault  vendorFault
	header http.Header
}

// Error returns the vendor's words.
func (e *vendorError) Error() string {
	text := e.fault.Message
	if text == "" {
		text = http.StatusText(e.status)
	}
	if e.status == 0 {
		return fmt.Sprintf("%s (%s)", text, e.fault.Type)
	}
	return fmt.Sprintf("%s (status %d)", text, e.status)
}

// readFault understands an error body; one of another form is kept as text.
func readFault(body []byte) vendorFault {
	var b struct {
		Error vendorFault `json:"error"`
	}
	if json.Unmarshal(body, &b) != nil || (b.Error.Type == "" && b.Error.Message == "") {
		b.Error.Message = strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 500)])), "?")
	}
	return b.Error
}

// passing says whether the same call may succeed a little later.
func passing(err error) bool {
	e, ok := errors.AsType[*vendorError](err)
	if !ok {
		return true // no answer, or not a whole one
	}
	switch e.header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	switch e.status {
	case 0:
		return e.fault.Type == "overloaded_error" || e.fault.Type == "api_error" || e.fault.Type == "rate_limit_error" || e.fault.Type == "timeout_error"
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	default:
		return e.status >= http.StatusInternalServerError
	}
}

// stopFor says what a failed model call means for the run.
func stopFor(err error, model string) *stop {
	e, ok := errors.AsType[*vendorError](err)
	if !ok {
		return stopped(corp.ReasonProviderDown, "The model did not answer: %v.", err)
	}
	kind := e.fault.Type
	switch {
	case e.status == http.StatusPaymentRequired || kind == "billing_error":
		return stopped(corp.ReasonBudget, "The budget is used up: %v.", e)
	case e.status == http.StatusUnauthorized || e.status == http.StatusForbidden || kind == "authentication_error" || kind == "permission_error":
		return stopped(corp.ReasonProviderKey, "The key was not accepted: %v.", e)
	case kind == "not_found_error":
		return stopped(corp.ReasonModelUnknown, "The model %q is unknown: %v.", model, e)
	case e.status == http.StatusRequestEntityTooLarge || kind == "request_too_large" || strings.Contains(e.fault.Message, "prompt is too long"):
		s := stopped(corp.ReasonStepLimit, "The conversation is too long for the model: %v. Give the rest as a smaller task.", e)
		s.claim = acp.StopMaxTokens
		return s
	case passing(err):
		return stopped(corp.ReasonProviderDown, "The model is not available: %v.", e)
	default:
		return stopped(corp.ReasonProviderRejected, "The model's vendor rejected the request: %v.", e)
	}
}
