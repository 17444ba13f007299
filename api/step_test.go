package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

func TestStepsComeBackWholeAndOnlyUnderTheLease(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	ctx, offer := t.Context(), o.running(t)
	var want []corp.Step
	for i := range 7 { // more than one answer holds
		want = append(want, corp.Step{Key: fmt.Sprintf("%05d", i), Output: json.RawMessage(`"` + strings.Repeat("\\u0000x", corp.MaxStep/8) + `"`)})
		if err := o.runner().SaveSteps(ctx, corp.StepBatch{Lease: offer.Lease, Journal: 1, Steps: want[i:]}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := o.runner().Steps(ctx, offer.Lease)
	same := func(a, b corp.Step) bool { return a.Key == b.Key && bytes.Equal(a.Output, b.Output) } // cmp.Diff takes seconds for megabytes
	if err != nil || got.Number != 1 || !slices.EqualFunc(want, got.Steps, same) {
		t.Errorf("%d steps of journal %d, %v", len(got.Steps), got.Number, err)
	}
	newer, older, forged := offer.Lease, offer.Lease, offer.Lease
	newer.Epoch++
	older.Epoch--
	forged.Secret = corp.NewSecret(corp.KeyPrefixLease)
	refused := func(who string, lease corp.Lease) {
		t.Helper()
		if err := o.runner().SaveSteps(ctx, corp.StepBatch{Lease: lease, Journal: 1, Steps: []corp.Step{{Key: "99999", Output: json.RawMessage(`{}`)}}}); err == nil || corp.KindOf(err) != corp.KindLeaseLost && corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%s writes: %v", who, err)
		}
		if _, err := o.runner().Steps(ctx, lease); err == nil || corp.KindOf(err) != corp.KindLeaseLost && corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%s reads: %v", who, err)
		}
	}
	refused("a newer epoch", newer)
	refused("an older epoch", older)
	refused("a forged secret", forged)
	if _, err := o.runner().Finish(ctx, corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunFailed, Reason: corp.ReasonCheckFailed}}); err != nil {
		t.Fatal(err)
	}
	refused("the holder, after the end,", offer.Lease)
	for _, key := range []string{"", "../x", "A", strings.Repeat("1", 41)} {
		err := o.runner().SaveSteps(ctx, corp.StepBatch{Lease: o.running(t).Lease, Journal: 1, Steps: []corp.Step{{Key: key, Output: json.RawMessage(`{}`)}}})
		if corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("the key %q: %v", key, err)
		}
	}
}
