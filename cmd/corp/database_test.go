package main

import (
	"errors"
	"fmt"
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
	if err := turnedAway(errors.ErrUnsupported, "postgres-url", "", ""); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
