package wire

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/genericcorp/corp"
)

// Object walks the top level of a request body. Each field is called with its
// name and must consume its value. It returns where the first field begins. It
// refuses, with an invalid error, a body that is not a strict JSON object, and
// one that names a field twice, in whatever case: the vendor might read the other one.
// Fields that steer a proxy in the vendor's place are refused too.
func Object(body []byte, field func(s *Scanner, key string) error) (first int, err error) {
	s := NewScanner(body)
	if s.Peek() != '{' {
		return 0, Invalid("", "The body is not a JSON object.")
	}
	first = s.i + 1
	seen := make(map[string]string, 16)
	err = s.Object(func(key []byte) error {
		name, folded := string(key), anyCase(key)
		if strings.ContainsAny(name, lookalikes) {
			return Invalid(name, "The field "+strconv.Quote(name)+" is not spelled as the vendor spells it.")
		}
		if k, twice := seen[folded]; twice {
			return Invalid(k, "The field "+strconv.Quote(k)+" stands in the request twice.")
		}
		if steering[Lower(key)] {
			return Invalid(name, "The field "+strconv.Quote(name)+" says where a request goes, and that is not for a request to say.")
		}
		seen[folded] = name
		return field(s, name)
	})
	if s.Space(); err == nil && s.i < len(body) {
		err = ErrJSON
	}
	if err == ErrJSON { //nolint:errorlint // the scanner returns this very value
		err = Invalid("", "The body is not valid JSON.")
	}
	return first, err
}

// lookalikes are the letters that are no ASCII and that a parser which minds no
// case, as Go's, takes for an s and a k: a field so written would be unknown here
// and known to the vendor.
const lookalikes = "\u017f\u212a"

// anyCase returns the same text for all that strings.EqualFold takes for equal.
func anyCase(key []byte) string {
	return string(bytes.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, key))
}

// Lower returns a key in lower case, as a parser that minds no case reads it.
func Lower(key []byte) string {
	for _, c := range key {
		if c >= utf8.RuneSelf || c >= 'A' && c <= 'Z' {
			return strings.ToLower(anyCase(key))
		}
	}
	return string(key)
}

// Invalid returns the error for a request that no vendor would take.
func Invalid(field, message string) error {
	return corp.Invalid(field, message, "Send the request as the vendor documents it.")
}

// Name reads a model's name from its JSON value.
func Name(raw []byte) (string, error) {
	name, err := NewScanner(raw).Text()
	if err != nil || len(name) == 0 || len(name) > 200 {
		return "", Invalid("model", "model: Input should be a string of 1 to 200 characters")
	}
	return string(name), nil
}

// Count reads a whole number up to most; null is 0. Anything that a lenient
// parser might still take for a number is refused: such numbers bound the cost.
func Count(field string, raw []byte, most int64) (int64, error) {
	if string(raw) == "null" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, Invalid(field, field+": Input should be a whole number greater than 0")
	}
	return n, nil
}

// Blank says whether a JSON value holds nothing. White space inside an empty list
// or object makes it not blank, which is the careful reading.
func Blank(v []byte) bool {
	text := string(v)
	return text == "null" || text == "[]" || text == "{}" || text == `""`
}

// Quote writes a text as JSON.
func Quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // unreachable: every string has a JSON form
	}
	return string(b)
}

// Edit is a text that takes the place of what stands in a span, which may be empty.
type Edit struct {
	Span
	Text string
}

// Splice returns the body with the edits made and every other byte as it was, in
// pieces that lie in it, so that a large prompt is not copied. The edits must not
// overlap; their order is of no matter but for those at the same place.
func Splice(body []byte, edits []Edit) [][]byte {
	slices.SortStableFunc(edits, func(x, y Edit) int { return x.From - y.From })
	pieces := make([][]byte, 0, 2*len(edits)+1)
	at := 0
	for _, e := range edits {
		pieces = append(pieces, body[at:e.From], []byte(e.Text))
		at = e.To
	}
	return append(pieces, body[at:])
}

// Bearer returns the bearer token of a request, or "".
func Bearer(h http.Header) string {
	scheme, key, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}
