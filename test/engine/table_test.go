//go:build engine || soak

package engine

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// table collects what every test held against its bound.
var table book

type book struct {
	mu   sync.Mutex
	rows []*row
}

// row is one invariant as one test saw it.
type row struct {
	t         *testing.T
	number    int // of the invariant
	name      string
	bound     string
	mu        sync.Mutex
	cases     int
	worst     string
	worstTime time.Duration
	ok        bool
}

// hold begins a row. It is good when the test that began it ends well.
func hold(t *testing.T, number int, name, bound string) *row {
	t.Helper()
	r := &row{t: t, number: number, name: name, bound: bound, worst: "-"}
	table.mu.Lock()
	table.rows = append(table.rows, r)
	table.mu.Unlock()
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ok = !t.Failed() && r.cases > 0
		if r.cases == 0 && !t.Failed() {
			t.Errorf("invariant %d (%s): no case was looked at", number, name)
		}
	})
	return r
}

// look counts cases that were looked at.
func (r *row) look(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cases += n
}

// saw notes the worst in words.
func (r *row) saw(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.worst = fmt.Sprintf(format, args...)
}

// took counts one case that took so long; beyond the bound it fails the test.
func (r *row) took(took, bound time.Duration, what string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cases++
	if took > r.worstTime || r.worst == "-" {
		r.worstTime, r.worst = took, took.Round(time.Millisecond).String()
	}
	if took > bound {
		r.t.Errorf("%s: %v, at most %v", what, took.Round(time.Millisecond), bound)
	}
}

// must counts a case and fails the test unless it is so.
func (r *row) must(ok bool, format string, args ...any) {
	r.t.Helper()
	r.look(1)
	if !ok {
		r.t.Errorf(format, args...)
	}
}

// publish prints the table, and writes it where it is asked to.
func (b *book) publish(file string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rows) == 0 {
		return nil
	}
	slices.SortStableFunc(b.rows, func(x, y *row) int { return cmp.Compare(x.number, y.number) })
	var out strings.Builder
	line := func(number, name, cases, worst, bound, ok string) {
		fmt.Fprintf(&out, "%3s | %-62s | %7s | %-44s | %-44s | %s\n", number, name, cases, worst, bound, ok)
	}
	line("#", "invariant", "cases", "worst observed", "bound", "ok")
	for _, r := range b.rows {
		ok := "yes"
		if !r.ok {
			ok = "NO"
		}
		line(fmt.Sprint(r.number), r.name, fmt.Sprint(r.cases), r.worst, r.bound, ok)
	}
	_, _ = fmt.Fprintf(os.Stdout, "\n%s\n", out.String())
	if file == "" {
		return nil
	}
	return os.WriteFile(file, []byte(out.String()), 0o644)
}
