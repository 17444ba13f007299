package timetable_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/timetable"
)

func parse(t *testing.T, expression, zone string) *timetable.Timetable {
	t.Helper()
	table, err := timetable.Parse(expression, zone)
	if err != nil {
		t.Fatalf("%s in %s: %v", expression, zone, err)
	}
	return table
}

// between lists the times after from and not after to, as the zone shows them.
func between(t *testing.T, table *timetable.Timetable, zone, from, to string) []string {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	at, end := moment(t, from), moment(t, to)
	times := []string{}
	for {
		next, ever := table.Next(at)
		if !ever || next.After(end) {
			return times
		}
		if !next.After(at) {
			t.Fatalf("%s follows %s", next, at)
		}
		at = next
		times = append(times, at.In(location).Format("01-02 15:04 -0700"))
	}
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestTheTimesOnTheDaysWhenTheClocksChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cron, zone, from, to string
		want                       []string
	}{
		// Europe/Berlin: at 2026-03-29 02:00 it becomes 03:00, at 2026-10-25 03:00 it becomes 02:00.
		{
			"a nightly job in spring comes once, when the clocks have jumped", "30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z",
			[]string{"03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"},
		},
		{
			"a nightly job in autumn comes once, the first time", "30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", "2026-10-26T12:00:00Z",
			[]string{"10-24 02:30 +0200", "10-25 02:30 +0200", "10-26 02:30 +0100"},
		},
		{
			"every ten minutes of an hour that is left out come once", "*/10 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z",
			[]string{"03-29 03:00 +0200"},
		},
		{
			"an hour that is left out and the next one come once", "0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z",
			[]string{"03-29 03:00 +0200"},
		},
		{
			"every hour in spring keeps its rhythm", "30 * * * *", "Europe/Berlin", "2026-03-28T23:45:00Z", "2026-03-29T02:45:00Z",
			[]string{"03-29 01:30 +0100", "03-29 03:30 +0200", "03-29 04:30 +0200"},
		},
		{
			"every hour in autumn keeps its rhythm", "30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", "2026-10-25T02:45:00Z",
			[]string{"10-25 02:30 +0200", "10-25 02:30 +0100", "10-25 03:30 +0100"},
		},
		{
			"every quarter of an hour in autumn keeps its rhythm", "*/15 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z",
			[]string{"10-25 02:45 +0200", "10-25 02:00 +0100", "10-25 02:15 +0100", "10-25 02:30 +0100"},
		},
		{
			"@daily where midnight is left out", "@daily", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-07T12:00:00Z",
			[]string{"09-06 01:00 -0300", "09-07 00:00 -0300"},
		},
		{
			"a nightly job where the clocks jump half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-02T16:00:00Z", "2026-10-04T16:00:00Z",
			[]string{"10-04 02:30 +1100", "10-05 02:15 +1100"},
		},
		{
			"a job on a day that an island left out", "0 9 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", "2011-12-31T00:00:00Z",
			[]string{"12-29 09:00 -1000", "12-31 00:00 +1400", "12-31 09:00 +1400"},
		},
		{
			"an odd zone without summer time", "0 9 * * 1-5", "Asia/Kathmandu", "2026-01-02T00:00:00Z", "2026-01-06T00:00:00Z",
			[]string{"01-02 09:00 +0545", "01-05 09:00 +0545"},
		},
		{
			"a leap day", "0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2109-01-01T00:00:00Z",
			[]string{"02-29 00:00 +0000", "02-29 00:00 +0000"},
		},
		{
			"a day of the month or of the week", "0 0 13 * 5", "UTC", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z",
			[]string{"02-06 00:00 +0000", "02-13 00:00 +0000", "02-20 00:00 +0000", "02-27 00:00 +0000"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, between(t, parse(t, c.cron, c.zone), c.zone, c.from, c.to)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// However the clocks go, a time of day comes once a day, and from wherever one
// looks the next time is the same.
func TestATimeOfDayComesOnceADayInEveryZone(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tehran", "Pacific/Chatham"} {
		for _, expression := range []string{"0 0 * * *", "30 1 * * *", "15 2 * * *", "59 23 * * *"} {
			table := parse(t, expression, zone)
			at, end, days := moment(t, "2026-01-01T12:00:00Z"), moment(t, "2028-01-01T12:00:00Z"), 0
			for {
				next, _ := table.Next(at)
				if next.After(end) {
					break
				}
				if again, _ := table.Next(next.Add(-time.Nanosecond)); !again.Equal(next) {
					t.Fatalf("%s in %s: %s from just before, %s from %s", expression, zone, again, next, at)
				}
				if gap := next.Sub(at); days > 0 && (gap < 22*time.Hour || gap > 26*time.Hour) {
					t.Errorf("%s in %s: %s between %s and %s", expression, zone, gap, at, next)
				}
				at = next
				days++
			}
			if days != 730 {
				t.Errorf("%s in %s came %d times in 730 days", expression, zone, days)
			}
		}
	}
}

func TestARhythmIsKeptThroughEveryChangeOfTheClocks(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Africa/Casablanca", "Asia/Kathmandu"} {
		table := parse(t, "*/20 * * * *", zone)
		at, _ := table.Next(moment(t, "2026-01-01T00:00:00Z"))
		for range 3 * 24 * 365 {
			next, _ := table.Next(at)
			if next.Sub(at) != 20*time.Minute {
				t.Fatalf("%s: %s follows %s", zone, next, at)
			}
			at = next
		}
	}
}

func TestWhatIsNoTimetableIsRefusedWithItsFieldAndTheNextStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cron, zone, field, says string }{
		{"", "", "cron", "five fields"},
		{"* * * *", "", "cron", "this one has 4"},
		{"0 * * * * *", "", "cron", "this one has 6"},
		{"60 * * * *", "", "cron", `minute "60"`},
		{"0 24 * * *", "", "cron", `hour "24"`},
		{"0 0 0 * *", "", "cron", `day of month "0"`},
		{"0 0 * 13 *", "", "cron", `month "13"`},
		{"0 0 * * 7", "", "cron", `day of week "7"`},
		{"*/0 * * * *", "", "cron", `minute "*/0"`},
		{"5-1 * * * *", "", "cron", `minute "5-1"`},
		{"a b c d e", "", "cron", `minute "a"`},
		{"0 0 30 2 *", "", "cron", "never comes"},
		{"0 0 31 4,6,9,11 *", "", "cron", "never comes"},
		{"@every 15m", "", "cron", "counted"},
		{"@every 1s", "", "cron", "counted"},
		{"@fortnightly", "", "cron", "no \"@fortnightly\""},
		{"@reboot", "", "cron", "no \"@reboot\""},
		{"TZ=UTC 0 0 * * *", "", "cron", "no time zone here"},
		{"CRON_TZ=UTC 0 0 * * *", "", "cron", "no time zone here"},
		{"TZ=0", "", "cron", "no time zone here"},
		{"0 0 * * *", "Local", "time_zone", "not a time zone"},
		{"0 0 * * *", "Europe/Atlantis", "time_zone", "not a time zone"},
		{"0 0 * * *", "../../etc/passwd", "time_zone", "not a time zone"},
		{"0 0 * * *", "/etc/localtime", "time_zone", "not a time zone"},
		{"0 0 * * *", strings.Repeat("x", 1000), "time_zone", "not a time zone"},
	} {
		_, err := timetable.Parse(c.cron, c.zone)
		e, ok := errors.AsType[*corp.Error](err)
		if !ok || e.Kind != corp.KindInvalid || e.Field != c.field || e.Hint == "" || !strings.Contains(e.Message, c.says) || !strings.HasSuffix(e.Message, ".") {
			t.Errorf("%q in %q: %#v", c.cron, c.zone, err)
		}
	}
}

func TestTheShortFormsAreUnderstood(t *testing.T) {
	t.Parallel()
	from := moment(t, "2026-05-06T07:08:09Z")
	for expression, want := range map[string]string{
		"@hourly": "2026-05-06T08:00:00Z", "@daily": "2026-05-07T00:00:00Z", "@midnight": "2026-05-07T00:00:00Z", "@weekly": "2026-05-10T00:00:00Z",
		"@monthly": "2026-06-01T00:00:00Z", "@yearly": "2027-01-01T00:00:00Z", "  5\t8 * may WED ": "2026-05-06T08:05:00Z",
	} {
		if got, _ := parse(t, expression, "").Next(from); got.Format(time.RFC3339) != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
}

// What somebody sends is either refused as invalid or has a next time, on a whole
// minute of the zone's clocks.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"* * * * *", "30 2 * * *", "@daily", "@every 1s", "TZ=0", "0 0 30 2 *", "*/9223372036854775807 1-5/2 ? jan-DEC sun,MON", "1-1/1,,2 * * * *"} {
		f.Add(seed, "Europe/Berlin")
	}
	f.Fuzz(func(t *testing.T, expression, zone string) {
		table, err := timetable.Parse(expression, zone)
		if err != nil {
			if corp.KindOf(err) != corp.KindInvalid {
				t.Fatal(err)
			}
			return
		}
		at := time.Date(2026, 3, 28, 23, 59, 59, 999, time.UTC)
		for range 5 {
			next, ever := table.Next(at)
			if !ever || !next.After(at) || next.Second() != 0 || next.Nanosecond() != 0 {
				t.Fatalf("%q in %q: %s, %v after %s", expression, zone, next, ever, at)
			}
			at = next
		}
	})
}
