package builtin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
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

	tooLong bool // the vendor says so: a shorter conversation may pass
	window  int  // then, the tokens that the model holds, if the vendor says so
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

// windowFull is the end when not even a shortened conversation leaves room.
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

// readFault understands an error body of any dialect; one of another form is
// kept as text.
func readFault(body []byte) vendorFault {
	var b struct {
		vendorFault
		Error  json.RawMessage `json:"error"`
		Detail string          `json:"detail"`
	}
	known := json.Unmarshal(body, &b) == nil
	var inner vendorFault
	var text string
	switch {
	case known && json.Unmarshal(b.Error, &inner) == nil && (inner.Type != "" || inner.Message != ""):
		return inner
	case known && json.Unmarshal(b.Error, &text) == nil && text != "":
		return vendorFault{Message: text}
	case known && b.Message != "": // with no object around it
		return b.vendorFault
	case known && b.Detail != "":
		return vendorFault{Message: b.Detail}
	default:
		return vendorFault{Message: strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 500)])), "?")}
	}
}

// passing says whether the same call may succeed a little later.
func passing(err error) bool {
	e, ok := errors.AsType[*vendorError](err)
	if !ok {
		return true // no answer, or not a whole one
	}
	if e.fault.isQuota() {
		return false // a status that passes, for something that does not
	}
	switch e.header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	switch e.status {
	case 0:
		return slices.Contains(passingFaults, e.fault.Type) || slices.Contains(passingFaults, string(e.fault.Code))
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	default:
		return e.status >= http.StatusInternalServerError
	}
}

// passingFaults are the errors within a stream that a later try may not meet.
var passingFaults = []string{
	"overloaded_error", "api_error", "rate_limit_error", "timeout_error",
	"server_error", "internal_server_error", "InternalServerError", "rate_limit_exceeded", "service_unavailable", "500", "502", "503", "504", "429",
}

// isQuota says whether the vendor's account has nothing left.
func (f vendorFault) isQuota() bool {
	return f.Code == "insufficient_quota" || f.Type == "insufficient_quota"
}

// tooLong holds what vendors say of a prompt that their model's window does not
// take. Many speak OpenAI's dialect, and each has its own words.
var tooLong = []string{
	"prompt is too long", "maximum context length", "context length", "context_length", "context window", "context size",
	"input is too long", "too many tokens", "reduce the length", "exceeds the maximum number of tokens", "input length",
}

// isTooLong says whether the vendor refused a prompt for its length.
func (e *vendorError) isTooLong() bool {
	if e.status == http.StatusRequestEntityTooLarge || e.fault.Type == "request_too_large" || e.fault.Code == "context_length_exceeded" || e.fault.Type == "exceed_context_size_error" {
		return true
	}
	if e.status != http.StatusBadRequest && e.status != http.StatusUnprocessableEntity && e.status != 0 {
		return false
	}
	text := strings.ToLower(e.fault.Message)
	return slices.ContainsFunc(tooLong, func(s string) bool { return strings.Contains(text, s) })
}

// statedWindow finds a model's window in the words of a refusal.
var statedWindow = regexp.MustCompile(`(?:maximum context length (?:is|of)|> *)\s*([0-9]{3,9})(?: tokens| maximum)`)

// window returns the tokens that the model holds, as the refusal of a prompt
// that was too long says; 0 when it does not say.
func (e *vendorError) window() int {
	found := statedWindow.FindStringSubmatch(e.fault.Message)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		return 0 // the pattern allows no such number
	}
	return n
}

// isUnknownModel says whether the vendor has no such model, and not merely no
// such address.
func (e *vendorError) isUnknownModel() bool {
	text := strings.ToLower(e.fault.Message)
	return e.fault.Type == "not_found_error" || e.fault.Code == "model_not_found" ||
		e.status == http.StatusNotFound && strings.Contains(text, "model") && (strings.Contains(text, "not found") || strings.Contains(text, "not exist"))
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
	case e.fault.isQuota():
		return stopped(corp.ReasonProviderKey, "The vendor's account has nothing left: %v.", e)
	case e.status == http.StatusUnauthorized || e.status == http.StatusForbidden || kind == "authentication_error" || kind == "permission_error":
		return stopped(corp.ReasonProviderKey, "The key was not accepted: %v.", e)
	case e.isUnknownModel():
		return stopped(corp.ReasonModelUnknown, "The model %q is unknown: %v.", model, e)
	case e.isTooLong():
		s := stopped(corp.ReasonStepLimit, "The conversation is too long for the model: %v. Give the rest as a smaller task.", e)
		s.claim, s.tooLong, s.window = acp.StopMaxTokens, true, e.window()
		return s
	case passing(err):
		return stopped(corp.ReasonProviderDown, "The model is not available: %v.", e)
	default:
		return stopped(corp.ReasonProviderRejected, "The model's vendor rejected the request: %v.", e)
	}
}
