package builtin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// clip shortens text to at most n bytes, never inside a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	cut := n
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + fmt.Sprintf("… [%d more bytes]", len(text)-cut)
}

// dice is the Sørensen-Dice coefficient of two texts' byte pairs: 0 for nothing
// in common, 1 for the same. Long texts are compared by their beginning.
func dice(a, b string) float64 {
	const longest = 400
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	if len(a) < 2 || len(b) < 2 {
		if a == b {
			return 1
		}
		return 0
	}
	pairs := make(map[[2]byte]int, len(a))
	for i := range len(a) - 1 {
		pairs[[2]byte{a[i], a[i+1]}]++
	}
	common := 0
	for i := range len(b) - 1 {
		p := [2]byte{b[i], b[i+1]}
		if pairs[p] > 0 {
			pairs[p]--
			common++
		}
	}
	return 2 * float64(common) / float64(len(a)+len(b)-2)
}

// squeeze drops what whitespace can differ in.
func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }

// place is where in a file a text may have been meant.
type place struct {
	line  int // from 0
	score float64
}

// nearest finds the lines of a file that are most like the wanted text, best
// first, at most n and not overlapping. It compares the wanted text's longest
// line, then the whole passage around the best hits.
func nearest(file, want []string, n int) []place {
	const compared, candidates = 100_000, 50
	anchor := 0
	for i, line := range want {
		if len(squeeze(line)) > len(squeeze(want[anchor])) {
			anchor = i
		}
	}
	key := squeeze(want[anchor])
	if key == "" {
		return nil
	}
	var hits []place
	for i, line := range file[:min(len(file), compared)] {
		if score := dice(squeeze(line), key); score > 0.5 {
			hits = append(hits, place{line: max(0, i-anchor), score: score})
		}
	}
	byScore := func(a, b place) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.line, b.line)) }
	slices.SortFunc(hits, byScore)
	hits = hits[:min(len(hits), candidates)]
	for i := range hits {
		hits[i].score = passageScore(file[hits[i].line:], want)
	}
	slices.SortFunc(hits, byScore)
	var best []place
	for _, h := range hits {
		apart := func(b place) bool { return max(b.line-h.line, h.line-b.line) >= len(want) }
		if len(best) < n && !slices.ContainsFunc(best, func(b place) bool { return !apart(b) }) {
			best = append(best, h)
		}
	}
	return best
}

func passageScore(file, want []string) float64 {
	const longest = 60 // lines; the beginning decides
	want = want[:min(len(want), longest)]
	sum := 0.0
	for i, line := range want {
		if i < len(file) {
			sum += dice(squeeze(file[i]), squeeze(line))
			if squeeze(file[i]) == squeeze(line) {
				sum += 0.01 // short lines have no pairs to compare
			}
		}
	}
	return sum / float64(len(want))
}

// numbered shows lines with their numbers, from first (from 0) on.
func numbered(lines []string, first int) string {
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, "%6d\t%s\n", first+i+1, clip(line, maxLineBytes))
	}
	return b.String()
}
