package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/genericcorp/corp"
)

// maxDepth is how deep a body may nest: far more than any request of ours, far
// less than what would exhaust a parser behind us.
const maxDepth = 128

// maxValues is how many values a body may hold: twice what the largest batch has.
// In memory each costs many times its two bytes, so that the size alone bounds little.
const maxValues = 1_000_000

// bodyErrorMark precedes "field\nsentence" in the text of a bodyError: huma
// passes on nothing but the text.
const bodyErrorMark = "\x00body\x00"

// bodyError is JSON that is refused before it is looked at closely.
type bodyError struct{ field, message string }

func (e bodyError) Error() string { return bodyErrorMark + e.field + "\n" + e.message }

// readJSON is json.Unmarshal for requests: what two readers could understand
// differently (a name given twice, a second value, bytes that are not UTF-8) or
// the database cannot hold (the zero character) is refused.
func readJSON(data []byte, v any) error {
	if _, first := v.(*any); first { // huma reads a body twice: into any, then into its type
		if err := checkJSON(data); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return explainJSON(err)
	}
	return nil
}

func explainJSON(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return bodyError{wrong.Field, fmt.Sprintf("The value of %q is not of the right type.", wrong.Field)}
	}
	if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
		return bodyError{"body", fmt.Sprintf("The body is not JSON: there is a mistake after %d bytes.", wrong.Offset)}
	}
	if wrong, ok := errors.AsType[*corp.Error](err); ok { // of an id; JSON's reader does not say where it was
		return bodyError{"body", wrong.Message}
	}
	return bodyError{"body", "The body is not JSON of the right shape."}
}

func checkJSON(data []byte) error {
	if !utf8.Valid(data) || bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return bodyError{"body", "The body is not plain UTF-8."}
	}
	deepest, values := shape(data)
	if deepest > maxDepth {
		return bodyError{"body", fmt.Sprintf("The body nests deeper than %d levels.", maxDepth)}
	}
	if values > maxValues {
		return bodyError{"body", fmt.Sprintf("The body holds more than %d values.", maxValues)}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, ""); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return bodyError{"body", "There is more after the end of the JSON value."}
	}
	return nil
}

// checkValue walks one value; path is where it stands.
func checkValue(dec *json.Decoder, path string) error {
	token, err := dec.Token()
	if err != nil {
		return explainJSON(err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return checkObject(dec, path)
		}
		for i := 0; dec.More(); i++ {
			if err := checkValue(dec, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	case string:
		if strings.ContainsRune(t, 0) {
			return bodyError{path, fmt.Sprintf("The text of %q holds the zero character.", path)}
		}
	}
	if err != nil {
		return explainJSON(err)
	}
	return nil
}

func checkObject(dec *json.Decoder, path string) error {
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return explainJSON(err)
		}
		name, _ := token.(string)
		full := strings.TrimPrefix(path+"."+name, ".")
		if seen[name] {
			return bodyError{full, fmt.Sprintf("The field %q is there twice.", full)}
		}
		seen[name] = true
		// A transcript holds whatever an agent wrote, and steps whatever a model and
		// its tools said: the one is cleaned, the other kept as it is.
		if full == "entries" || full == "steps" {
			var skipped json.RawMessage
			if err := dec.Decode(&skipped); err != nil {
				return explainJSON(err)
			}
			continue
		}
		if err := checkValue(dec, full); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return explainJSON(err)
	}
	return nil
}

// shape returns how deep brackets nest outside of strings, and how many values
// there are at most, in one pass and without a stack, so that it can be asked
// before anything recursive or greedy runs.
func shape(data []byte) (deepest, values int) {
	level, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString:
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
			values++
		case c == ',':
			values++
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest, values + 1
}
