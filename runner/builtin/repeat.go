package builtin

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode"
)

const (
	repeatsToWarn = 3 // the same call with the same result, nothing having changed
	repeatsToStop = 6
)

// repeats notices a model that goes round in circles: the same call with the
// same result again and again. A change to a file makes looking and running
// anew worthwhile, so it forgets those; but a change made before, as one that is
// made and taken back in turn, forgets nothing.
type repeats struct {
	looks   map[[32]byte]int
	changes map[[32]byte]int
}

func newRepeats() *repeats {
	return &repeats{looks: map[[32]byte]int{}, changes: map[[32]byte]int{}}
}

// note counts a call and says how often it has come to the same.
func (r *repeats) note(use block, res result) int {
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%t\x00%s", use.Name, use.Input, res.failed, withoutNumbers(res.text)))
	if !res.changed {
		r.looks[key]++
		return r.looks[key]
	}
	r.changes[key]++
	if r.changes[key] == 1 {
		clear(r.looks)
	}
	return r.changes[key]
}

// withoutNumbers makes results equal that differ in times and addresses only.
func withoutNumbers(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsDigit(c) {
			return -1
		}
		return c
	}, text)
}
