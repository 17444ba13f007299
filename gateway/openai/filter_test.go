package openai_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/genericcorp/corp/gateway/openai"
)

func filtered(text string, size int) string {
	f := openai.NewFilter()
	var out bytes.Buffer
	for rest := text; rest != ""; {
		n := min(size, len(rest))
		out.Write(f.Pass([]byte(rest[:n])))
		rest = rest[n:]
	}
	out.Write(f.Rest())
	return out.String()
}

func TestTheUsageEventIsTakenOutAndNothingElse(t *testing.T) {
	t.Parallel()
	say := "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}],\"usage\":null}\n\n"
	long := `data: {"choices":[],"pad":"` + strings.Repeat("x", 100_000) + `","usage":{}}` + "\n\n"
	for name, c := range map[string][2]string{
		"at the end":                   {say + endChunk + usageChunk + doneChunk, say + endChunk + doneChunk},
		"last of all":                  {say + usageChunk, say},
		"without its blank line":       {say + strings.TrimSuffix(usageChunk, "\n"), say},
		"without any end":              {say + strings.TrimSuffix(usageChunk, "\n\n"), say},
		"no space after the colon":     {"data:" + usageChunk[6:] + say, say},
		"with a name before it":        {"event: usage\n" + usageChunk + say, "event: usage\n\n" + say},
		"with an id after it":          {strings.TrimSuffix(usageChunk, "\n") + "id: 7\n\n" + say, "id: 7\n\n" + say},
		"twice":                        {usageChunk + usageChunk + say, say},
		"beside a choice":              {"data: {\"choices\":[{}],\"usage\":{}}\n\n", "data: {\"choices\":[{}],\"usage\":{}}\n\n"},
		"without choices":              {"data: {\"usage\":{}}\n\n", "data: {\"usage\":{}}\n\n"},
		"no usage":                     {"data: {\"choices\":[],\"prompt_filter_results\":[],\"usage\":null}\n\n", "data: {\"choices\":[],\"prompt_filter_results\":[],\"usage\":null}\n\n"},
		"broken":                       {usageChunk[:len(usageChunk)-3] + "\n\n", usageChunk[:len(usageChunk)-3] + "\n\n"},
		"comments, blanks and nothing": {": ping\n\n\n\n" + say + "\n", ": ping\n\n\n\n" + say + "\n"},
		"too long to be held":          {long + say, long + say},
		"cut in a line":                {say + say[:20], say + say[:20]},
		"empty":                        {"", ""},
	} {
		for _, end := range []string{"\n", "\r\n", "\r"} {
			in, want := strings.ReplaceAll(c[0], "\n", end), strings.ReplaceAll(c[1], "\n", end)
			for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
				if got := filtered(in, size); got != want {
					t.Fatalf("%s, lines ended by %q, pieces of %d:\n got %.300q\nwant %.300q", name, end, size, got, want)
				}
			}
		}
	}
}

func TestALineIsGivenAsSoonAsItHasEnded(t *testing.T) {
	t.Parallel()
	f := openai.NewFilter()
	for _, piece := range []string{textChunk, ": ping\n", "\n", endChunk} {
		if got := string(f.Pass([]byte(piece))); got != piece {
			t.Errorf("%q came as %q", piece, got)
		}
	}
	if got := string(f.Pass([]byte(usageChunk[:40]))); got != "" {
		t.Errorf("what may be the usage came as %q", got)
	}
	if got := string(f.Pass([]byte(usageChunk[40:] + doneChunk))); got != doneChunk {
		t.Errorf("then %q", got)
	}
}

func FuzzFilterOnlyTakesUsageEventsOut(f *testing.F) {
	f.Add(textChunk+endChunk+usageChunk+doneChunk, 5)
	f.Add("event: x\r\n"+usageChunk+"\r\r\n"+usageChunk, 1)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, size%100)
		got := filtered(text, size)
		if whole := filtered(text, len(text)+1); got != whole {
			t.Fatalf("in pieces of %d %q, in one %q", size, got, whole)
		}
		if !strings.Contains(text, `"usage"`) && got != text {
			t.Fatalf("%q became %q", text, got)
		}
		if again := filtered(got, size); strings.Contains(again, `"choices":[],"usage":{}`) {
			t.Fatalf("%q still has the usage: %q", text, got)
		}
		if len(got) > len(text) {
			t.Fatalf("%q grew to %q", text, got)
		}
	})
}
