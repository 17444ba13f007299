package api

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
)

const (
	// codeRateLimited is the code of what will be admitted later, without anybody
	// raising a limit: 429, where the other limits are 402.
	codeRateLimited = "rate_limited"
	// quotaExceeded is the type of such a problem (draft-ietf-httpapi-ratelimit-headers).
	quotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"
)

// overrun is the cause of a refusal by rate: which policies refused, and when to
// come again.
type overrun struct {
	violated []string
	retry    time.Duration // 0: it depends on somebody else
}

// Error names the policies.
func (o *overrun) Error() string { return "over the limit of " + strings.Join(o.violated, ", ") }

// rateLimited is the error of a request that comes too early.
func rateLimited(worst limit.State, states []limit.State) error {
	o := &overrun{retry: worst.RetryAfter}
	for _, s := range states {
		if s.Denied {
			o.violated = append(o.violated, s.Policy.Name)
		}
	}
	return &corp.Error{
		Kind: corp.KindLimit, Code: codeRateLimited, Err: o,
		Message: fmt.Sprintf("There were too many requests: the limit %q has %d in %s.", worst.Policy.Name, worst.Policy.Quota, plainDuration(worst.Policy.Window)),
		Hint:    fmt.Sprintf("Try again in %d seconds; \"corp limits\" and GET /v1/limits show what the workspace has.", seconds(worst.RetryAfter)),
	}
}

// tooManyStreams is the error of a workspace that has its plan's streams open.
func tooManyStreams(plan corp.Plan) error {
	return &corp.Error{
		Kind: corp.KindLimit, Code: codeRateLimited, Err: &overrun{violated: []string{"streams"}},
		Message: fmt.Sprintf("The plan %s has %d streams open at a time, and they are.", plan.Name, plan.Streams),
		Hint:    "Follow several tasks in one stream, or close some.",
	}
}

func plainDuration(d time.Duration) string {
	if d == time.Hour {
		return "an hour"
	}
	return d.String()
}

// seconds is a duration as headers have it: whole, and never too short.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// limitHeaders say what the limits of a request are, and how the one stands of
// which there is least. The partition key names who is counted, to nobody but us.
func (a *API) limitHeaders(states []limit.State) map[string]string {
	if len(states) == 0 {
		return nil
	}
	least, partition := states[0], ""
	policies := make([]string, len(states))
	for i, s := range states {
		pk := a.partition(s.Key)
		if i == 0 || s.Denied && !least.Denied || s.Denied == least.Denied && s.Remaining < least.Remaining {
			least, partition = s, pk
		}
		policies[i] = fmt.Sprintf("%q;q=%d;w=%d;pk=%s", s.Policy.Name, s.Policy.Quota, seconds(s.Policy.Window), pk)
	}
	return map[string]string{
		"RateLimit-Policy": strings.Join(policies, ", "),
		"RateLimit":        fmt.Sprintf("%q;r=%d;t=%d;pk=%s", least.Policy.Name, least.Remaining, seconds(least.ResetAfter), partition),
	}
}

// partition is a byte sequence as structured fields have it.
func (a *API) partition(key string) string {
	return ":" + base64.StdEncoding.EncodeToString(a.Ring.Hash("limit " + key)[:9]) + ":"
}

// retryAfter is the header of that name; empty when nobody knows.
func (o *overrun) retryAfter() string {
	if o.retry <= 0 {
		return ""
	}
	return strconv.FormatInt(max(seconds(o.retry), 1), 10)
}
