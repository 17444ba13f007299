package api

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/genericcorp/corp"
)

// cursor is where a stream stands: after which event, and after which entry of
// each run. Its text is the stream's id: "e:42,run_06f…:17".
type cursor struct {
	event   int64 // -1: not said
	entries map[corp.RunID]int64
}

// maxCursor is the longest text of a cursor: that of all the tasks that a stream
// may name, with as many attempts each as one may have. A request's head has room
// for it.
const maxCursor = 48 << 10

func (c cursor) String() string {
	var b strings.Builder
	b.WriteString("e:")
	b.WriteString(strconv.FormatInt(c.event, 10))
	for _, run := range slices.SortedFunc(maps.Keys(c.entries), func(a, b corp.RunID) int { return strings.Compare(a.String(), b.String()) }) {
		b.WriteString("," + run.String() + ":" + strconv.FormatInt(c.entries[run], 10))
	}
	return b.String()
}

// parseCursor reads the text of a cursor; the empty text says nothing.
func parseCursor(text string) (cursor, error) {
	c := cursor{event: -1, entries: map[corp.RunID]int64{}}
	if text == "" {
		return c, nil
	}
	wrong := corp.Invalid("after", "That is not the cursor of a stream.", "Send the id of the last message you got, or \"e:0\" for all events there are.")
	if len(text) > maxCursor {
		return c, wrong
	}
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(part, ":")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 {
			return c, wrong
		}
		if name == "e" {
			c.event = n
			continue
		}
		run, err := corp.ParseID[corp.RunID](name)
		if err != nil {
			return c, wrong
		}
		c.entries[run] = n
	}
	return c, nil
}
