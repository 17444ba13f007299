package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/genericcorp/corp"
)

// explain turns what huma found wrong with a request into one error of ours, for
// the first place in the order of their names.
func explain(status int, message string, errs []error) *corp.Error {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return &corp.Error{Kind: corp.KindInvalid, Code: "too_large", Field: "body", Message: "The request is too large.", Hint: "Send less at a time; large files go to /v1/blobs."}
	case http.StatusUnsupportedMediaType:
		return &corp.Error{Kind: corp.KindInvalid, Code: "media_type", Field: "Content-Type", Message: "This operation takes JSON.", Hint: "Send \"Content-Type: application/json\"."}
	case http.StatusRequestTimeout:
		return &corp.Error{Kind: corp.KindInvalid, Code: "slow_body", Field: "body", Message: "The request did not arrive in time.", Hint: "Send it again over a better connection."}
	}
	var details []*huma.ErrorDetail
	for _, err := range errs {
		if d, ok := errors.AsType[*huma.ErrorDetail](err); ok {
			details = append(details, d)
		} else if e, ok := errors.AsType[*corp.Error](err); ok {
			return e
		}
	}
	if len(details) == 0 {
		return corp.Invalid("body", "The request's body is missing or cannot be read: "+message+".", "Send a JSON object.")
	}
	first := slices.MinFunc(details, func(a, b *huma.ErrorDetail) int { return strings.Compare(a.Location+a.Message, b.Location+b.Message) })
	return explainDetail(first)
}

func explainDetail(d *huma.ErrorDetail) *corp.Error {
	place, field, _ := strings.Cut(d.Location, ".")
	if field == "" {
		field = place
	}
	message := d.Message
	switch {
	case strings.HasPrefix(message, bodyErrorMark):
		field, message, _ = strings.Cut(strings.TrimPrefix(message, bodyErrorMark), "\n")
		return corp.Invalid(field, message, "Correct the JSON and send it again.")
	case message == validation.MsgUnexpectedProperty:
		return corp.Invalid(field, fmt.Sprintf("There is no field %q here.", lastPart(field)), "Leave it out, or check its spelling: /openapi.yaml lists the fields.")
	case message == "unknown query parameter":
		return corp.Invalid(field, fmt.Sprintf("There is no parameter %q here.", field), "Leave it out, or check its spelling: /openapi.yaml lists the parameters.")
	case strings.HasPrefix(message, "required ") && strings.HasSuffix(message, " parameter is missing"):
		return corp.Invalid(field, fmt.Sprintf("The parameter %q is missing.", field), "Add it.")
	}
	if name, ok := strings.CutPrefix(message, "expected required property "); ok {
		name = strings.TrimSuffix(name, " to be present")
		full := name
		if field != "body" {
			full = field + "." + name
		}
		return corp.Invalid(full, fmt.Sprintf("The field %q is missing.", full), "Add it.")
	}
	if pattern, ok := strings.CutPrefix(message, "expected string to match pattern ^"); ok && strings.HasSuffix(pattern, idForm) {
		prefix := strings.TrimSuffix(pattern, idForm) + "_"
		return corp.Invalid(field, "That is not an id of this kind.", fmt.Sprintf("An id of this kind starts with %q and has 26 more characters.", prefix))
	}
	if wrong, ok := strings.CutPrefix(message, "invalid value: That is not an id"); ok {
		return corp.Invalid(field, "That is not an id"+wrong, "An id is the noun, an underscore and 26 more characters; a name is no id.")
	}
	if wrong, ok := strings.CutPrefix(message, "invalid value: "); ok && strings.HasSuffix(wrong, ".") {
		return corp.Invalid(field, wrong, "Check the value and send it again.")
	}
	switch {
	case strings.HasPrefix(message, "expected string to match pattern ^[a-z0-9][a-z0-9-]*$"):
		return corp.Invalid(field, fmt.Sprintf("The value of %q is not valid.", field), "Use small letters, digits and dashes, with a letter or digit first.")
	case message == "expected string to be RFC 3339 date-time", strings.HasPrefix(message, "invalid date/time for format "):
		return corp.Invalid(field, fmt.Sprintf("The value of %q is not a time.", field), "Write it like 2026-05-01T22:30:00Z.")
	case message == "invalid integer":
		return corp.Invalid(field, fmt.Sprintf("The value of %q is not valid.", field), "Expected: integer.")
	case message == "expected length >= 1":
		return corp.Invalid(field, fmt.Sprintf("The value of %q is empty.", field), "Give it a value.")
	}
	// What remains reads "expected …" or "invalid …": the rule is the next step.
	rule := written(strings.TrimPrefix(strings.TrimPrefix(message, "invalid value: "), "expected "))
	return corp.Invalid(field, fmt.Sprintf("The value of %q is not valid.", field), "Expected: "+rule+".")
}

// written gives a rule that ends with a number such as 3.1536e+07 that number as
// people write it.
func written(rule string) string {
	start, last := rule[:strings.LastIndexByte(rule, ' ')+1], lastWord(rule)
	if n, err := strconv.ParseFloat(last, 64); err == nil && strings.Contains(last, "e+") {
		return start + strconv.FormatFloat(n, 'f', -1, 64)
	}
	return rule
}

func lastWord(text string) string { return text[strings.LastIndexByte(text, ' ')+1:] }

func lastPart(field string) string { return field[strings.LastIndexByte(field, '.')+1:] }
