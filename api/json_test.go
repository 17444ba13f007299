package api

import (
	"encoding/json"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// Attack case 54. Control: ordinary and deep JSON is read, in TestOrdinaryJSONIsReadAsItIs.
func TestABodyThatTwoReadersCouldReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body, field string }{
		{"a name twice", `{"a":1,"a":2}`, "a"},
		{"a nested name twice", `{"x":[{"b":1},{"b":1,"b":2}]}`, "x[1].b"},
		{"the same name written differently", `{"a":1,"\u0061":2}`, "a"},
		{"a second value", `{"a":1} {"a":2}`, "body"},
		{"the zero character", `{"a":{"b":"x\u0000y"}}`, "a.b"},
		{"the zero character in a list", `["a","\u0000"]`, "[1]"},
		{"no UTF-8", "{\"a\":\"\xff\"}", "body"},
		{"a byte order mark", "\xef\xbb\xbf{}", "body"},
		{"a deep nest", strings.Repeat("[", 129) + strings.Repeat("]", 129), "body"},
		{"a bomb of brackets", strings.Repeat(`{"a":`, 100_000), "body"},
		{"too many values", "[" + strings.Repeat("0,", maxValues) + "0]", "body"},
		{"too many lists", "[" + strings.Repeat("[],", maxValues) + "0]", "body"},
		{"half an object", `{"a":`, "body"},
		{"no JSON", `hello`, "body"},
		{"a comma too many", `{"a":1,}`, "body"},
		{"two NaNs", `{"a":NaN}`, "body"},
		{"a huge number", `{"a":1e999999}`, "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var v any
			err := readJSON([]byte(c.body), &v)
			wrong, ok := err.(bodyError) //nolint:errorlint // its own type is what huma gets
			if !ok {
				t.Fatalf("got %v (%T), want a bodyError", err, err)
			}
			if wrong.field != c.field {
				t.Errorf("it names the field %q, want %q", wrong.field, c.field)
			}
			if strings.Contains(wrong.message, "json:") || !strings.HasSuffix(wrong.message, ".") {
				t.Errorf("not a sentence for people: %q", wrong.message)
			}
		})
	}
}

// A value in memory is many times its two bytes in a body: what the largest body
// could hold must be refused before it is read into memory.
// Attack case 54. Control: the largest batch that is allowed has values to spare.
//
//nolint:paralleltest // it counts what is allocated
func TestALargeBodyOfTinyValuesCostsNoMemory(t *testing.T) {
	for _, item := range []string{"0,", "[],", "{},", `"",`} {
		data := []byte("[" + strings.Repeat(item, maxBatchBody/len(item)-1) + "0]")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var v any
		if readJSON(data, &v) == nil {
			t.Errorf("%d bytes of %s were read", len(data), item)
		}
		runtime.ReadMemStats(&after)
		// Read, they are at least five times the body; a server of an earlier test may be at work beside.
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(len(data)/2) {
			t.Errorf("%d bytes of %s took %d bytes more", len(data), item, took)
		}
	}
	links := make([]string, 5000) // the largest batch there is, and it has fields to spare
	for i := range links {
		links[i] = `{"prompt":"p","labels":[` + strings.Repeat(`"l",`, 19) + `"l"],"after":[` + strings.Repeat(`{"ref":"r","on_failure":"run"},`, 9) + `{"ref":"r"}]}`
	}
	if _, values := shape([]byte("[" + strings.Join(links, ",") + "]")); values > maxValues/2 {
		t.Errorf("%d values in the largest batch", values)
	}
}

// Who has no key may send a megabyte, too: half of it a name and half of it values
// beneath the name must not be multiplied.
//
//nolint:paralleltest // it counts what is allocated
func TestManyValuesBeneathALongNameCostLittle(t *testing.T) {
	const half = 1 << 17
	data := []byte(`{"` + strings.Repeat("a", half) + `":[` + strings.Repeat("0,", half/8) + `"\u0000"]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var v any
	if readJSON(data, &v) == nil {
		t.Error("a zero character was read")
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(100*len(data)) { // multiplied it is 16,000 times
		t.Errorf("%d bytes took %d bytes more", len(data), took)
	}
}

func TestOrdinaryJSONIsReadAsItIs(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 128) + strings.Repeat("]", 128)
	for _, body := range []string{`{}`, `null`, `{"a":"{[\"","b":[1,2,{"a":1}],"c":{"a":2}}`, deep, `{"prompt":"äöü \ud83d\ude00"}`, `{"entries":[{"text":"a\u0000b","data":{"x":1,"x":2}}]}`} {
		var got, want any
		if err := readJSON([]byte(body), &got); err != nil {
			t.Errorf("%.60s: %v", body, err)
		}
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(want, got) { // cmp takes exponential time on a deep nest
			t.Errorf("%.60s was read as %v", body, got)
		}
	}
}

func FuzzWhatIsAcceptedIsWhatTheStandardLibraryReads(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":1,"a":2}`, `[[[`, `"\u0000"`, `{"a":[{"b":null}]}`, `{"entries":[1,2]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got any
		if readJSON(data, &got) != nil {
			return
		}
		if !json.Valid(data) {
			t.Errorf("accepted what is no JSON: %q", data)
		}
		if deepest, values := shape(data); deepest > maxDepth || values > maxValues {
			t.Errorf("accepted a nest of %d with %d values", deepest, values)
		}
	})
}
