// Package days is a flag of times so long that people count them in days. It refuses
// what is shorter than one: it would take away what people are still looking at.
package days

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Day is one of them.
const Day = Days(24 * time.Hour)

// Days is a time that is set in days. 0 stands for ever.
type Days time.Duration

// String writes it as it may be set.
func (d *Days) String() string {
	if *d%Day == 0 {
		return strconv.FormatInt(int64(*d/Day), 10) + "d"
	}
	return time.Duration(*d).String()
}

// Set reads 90d, 2160h, or 0 for ever. Less than a day is a mistake: it would
// take away what people are still looking at.
func (d *Days) Set(text string) error {
	v, err := time.ParseDuration(text)
	if n, ok := strings.CutSuffix(text, "d"); ok {
		var count int64
		if count, err = strconv.ParseInt(n, 10, 64); err == nil && count > 36500 {
			err = fmt.Errorf("more than a century")
		}
		v = time.Duration(count) * time.Duration(Day)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a number of days like 90d", text)
	case v != 0 && v < time.Duration(Day):
		return fmt.Errorf("%q is less than a day", text)
	}
	*d = Days(v)
	return nil
}

// Type is the word that the help shows.
func (*Days) Type() string { return "days" }
