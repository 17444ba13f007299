package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

type sqlError string

func (e sqlError) Error() string    { return "FATAL (SQLSTATE " + string(e) + ")" }
func (e sqlError) SQLState() string { return string(e) }

func TestADatabaseThatWasNeverPreparedIsSaidToNeedThat(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{"28000": "postgres-url", "28P01": "postgres-url", "3D000": "postgres-url", "57P03": ""} {
		inner := &corp.Error{Kind: corp.KindInternal, Err: fmt.Errorf("connect: %w", sqlError(state))}
		got, ok := errors.AsType[*corp.Error](turnedAway(inner, "postgres-url", "It does not.", "Prepare it."))
		if !ok || got.Field != want || (want != "") != (exitCode(got) == exitUsage) {
			t.Errorf("%s: %+v", state, got)
		}
	}
	for state, want := range map[string]string{"28P01": "CORP_POSTGRES_ADMIN_URL", "42501": "may create roles", "57P03": ""} {
		got, ok := errors.AsType[*corp.Error](notAdministrator(&corp.Error{Kind: corp.KindInternal, Err: fmt.Errorf("connect: %w", sqlError(state))}))
		if !ok || !strings.Contains(got.Hint, want) || (want != "") != (got.Field == "postgres-admin-url") {
			t.Errorf("migrate, %s: %+v", state, got)
		}
	}
	if err := turnedAway(errors.ErrUnsupported, "postgres-url", "", ""); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
