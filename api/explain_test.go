package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
)

func TestARuleIsSaidInNumbersThatPeopleWrite(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"expected number <= 3.1536e+07":        "Expected: number <= 31536000.",
		"expected number <= 9":                 "Expected: number <= 9.",
		"expected string to match pattern ^e+": "Expected: string to match pattern ^e+.",
		"expected array":                       "Expected: array.",
	} {
		if got := explainDetail(&huma.ErrorDetail{Location: "body.delay_seconds", Message: message}); got.Hint != want || got.Field != "delay_seconds" {
			t.Errorf("%s: %+v", message, got)
		}
	}
}

func TestARuleIsSaidInWordsThatPeopleUnderstand(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"invalid integer":      `The value of "x" is not valid.`,
		"expected length >= 1": `The value of "x" is empty.`,

		"invalid value: An id of nothing but zeros names nothing.":         "An id of nothing but zeros names nothing.",
		"expected string to be RFC 3339 date-time":                         `The value of "x" is not a time.`,
		"invalid date/time for format 2006-01-02T15:04:05.999999999Z07:00": `The value of "x" is not a time.`,
		"expected string to match pattern ^[a-z0-9][a-z0-9-]*$":            `The value of "x" is not valid.`,
	} {
		got := explainDetail(&huma.ErrorDetail{Location: "query.x", Message: message})
		if got.Message != want || got.Field != "x" || strings.ContainsAny(got.Hint, "^") || strings.Contains(got.Hint, "..") || strings.Contains(got.Hint, "2006") {
			t.Errorf("%s: %+v", message, got)
		}
	}
}

func TestWhatOnlyTheOperatorMayIsNotSentToAnAdmin(t *testing.T) {
	t.Parallel()
	for action, admin := range map[corp.Action]bool{corp.PriceWrite: false, corp.ServerRead: false, corp.WorkspaceManage: false, corp.ProviderWrite: true} {
		err, ok := errors.AsType[*corp.Error](allowed(corp.Identity{Role: corp.RoleMember}, action))
		if !ok || strings.Contains(err.Hint, "admin") != admin || strings.Contains(err.Hint, "operator") == admin {
			t.Errorf("%s: %+v", action, err)
		}
	}
}

func TestAReasonThatIsNoneIsAnsweredWithTheList(t *testing.T) {
	t.Parallel()
	err, ok := errors.AsType[*corp.Error](checkReason("nonsense"))
	if !ok || !strings.Contains(err.Hint, "provider_unavailable, repository") || strings.Contains(err.Hint, ", ,") {
		t.Error(err)
	}
}
