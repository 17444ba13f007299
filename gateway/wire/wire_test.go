package wire_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/wire"
)

func TestLinesComeWholeHoweverTheStreamIsCut(t *testing.T) {
	t.Parallel()
	text := "a: 1\n\ndata: {}\r\nlong " + strings.Repeat("x", 5000) + "\rlast"
	want := []string{"a: 1", "", "data: {}", "", "long " + strings.Repeat("x", 5000), "last"}
	for size := 1; size < 50; size++ {
		var l wire.Lines
		var got []string
		take := func(line []byte) { got = append(got, string(line)) }
		for piece := range slices.Chunk([]byte(text), size) {
			l.Take(piece, take)
		}
		l.Rest(take)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in pieces of %d: %s", size, diff)
		}
	}
}

func TestALineBeyondTheBoundIsPassedOverAndTheNextIsRead(t *testing.T) {
	t.Parallel()
	var l wire.Lines
	var got []string
	for range 40 {
		l.Take(bytes.Repeat([]byte("x"), 64<<10), func(line []byte) { t.Errorf("a line of %d bytes", len(line)) })
	}
	l.Take([]byte("end\nnext\n"), func(line []byte) { got = append(got, string(line)) })
	if diff := cmp.Diff([]string{"next"}, got); diff != "" {
		t.Error(diff)
	}
	var b wire.Body
	for range 200 {
		_, _ = b.Write(bytes.Repeat([]byte("x"), 64<<10))
	}
	if b.Bytes() != nil {
		t.Error("an answer beyond the bound is kept")
	}
}

func TestEditsAreMadeWhereTheyStandInAnyOrder(t *testing.T) {
	t.Parallel()
	body := []byte("0123456789")
	at := func(from, to int) wire.Span { return wire.Span{From: from, To: to} }
	got := bytes.Join(wire.Splice(body, []wire.Edit{{at(8, 9), "H"}, {at(1, 1), "one"}, {at(2, 4), ""}, {at(10, 10), "end"}}), nil)
	if string(got) != "0one14567H9end" {
		t.Errorf("%s", got)
	}
	if got := bytes.Join(wire.Splice(body, nil), nil); !bytes.Equal(got, body) {
		t.Errorf("%s", got)
	}
}

func TestAStreamIsKnownByItsContentType(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]bool{"text/event-stream": true, "Text/Event-Stream; charset=utf-8": true, "text/event": false, "application/json": false, "": false} {
		if wire.IsStream(kind) != want {
			t.Errorf("%q", kind)
		}
	}
}

func FuzzOnlyWhatEveryParserReadsAlikeIsTaken(f *testing.F) {
	f.Add([]byte(`{"a":[1,-0.5e+3,"\u00e9\\",{"b":null}],"c":true}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys := map[string]string{}
		first, err := wire.Object(body, func(s *wire.Scanner, key string) error {
			at, err := s.Skip()
			if err == nil {
				keys[key] = string(s.Bytes(at))
			}
			return err
		})
		if err != nil {
			if corp.KindOf(err) != corp.KindInvalid {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		var other map[string]json.RawMessage
		if err := json.Unmarshal(body, &other); err != nil || len(other) != len(keys) || first < 1 {
			t.Fatalf("%q: taken, but %v with %d names, not %d", body, err, len(other), len(keys))
		}
		for key, value := range keys {
			if string(other[key]) != value {
				t.Fatalf("%q: %q is %q here and %q there", body, key, value, other[key])
			}
		}
	})
}
