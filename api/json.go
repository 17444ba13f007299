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
	err := checkValue(dec, 0)
	if wrong, ok := errors.AsType[fault](err); ok {
		return bodyError{wrong.field, wrong.Error()}
	}
	if err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return bodyError{"body", "There is more after the end of the JSON value."}
	}
	return nil
}

// checkValue walks one value. A fault names the field from here on, and whoever is
// above puts its own name before it: a path that is made on the way down would be
// copied for each of very many values beneath a very long name.
func checkValue(dec *json.Decoder, level int) error {
	token, err := dec.Token()
	if err != nil {
		return explainJSON(err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return checkObject(dec, level)
		}
		for i := 0; dec.More(); i++ {
			if err := checkValue(dec, level+1); err != nil {
				return below(fmt.Sprintf("[%d]", i), err)
			}
		}
		_, err = dec.Token()
	case string:
		if strings.ContainsRune(t, 0) {
			return fault{"", "The text of %q holds the zero character."}
		}
	}
	if err != nil {
		return explainJSON(err)
	}
	return nil
}

func checkObject(dec *json.Decoder, level int) error {
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return explainJSON(err)
		}
		name, _ := token.(string)
		if seen[name] {
			return fault{name, "The field %q is there twice."}
		}
		seen[name] = true
		// A transcript holds whatever an agent wrote, and steps whatever a model and
		// its tools said: the one is cleaned, the other kept as it is.
		if level == 0 && (name == "entries" || name == "steps") {
			var skipped json.RawMessage
			if err := dec.Decode(&skipped); err != nil {
				return explainJSON(err)
			}
			continue
		}
		if err := checkValue(dec, level+1); err != nil {
			return below(name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return explainJSON(err)
	}
	return nil
}

// fault is what is wrong with a field, by its name from where the error has come to.
type fault struct{ field, rule string }

func (f fault) Error() string { return fmt.Sprintf(f.rule, f.field) }

// below puts the name of what is above a field before it.
func below(name string, err error) error {
	wrong, ok := errors.AsType[fault](err)
	switch {
	case !ok:
		return err // about the body as a whole
	case wrong.field == "", wrong.field[0] == '[':
		wrong.field = name + wrong.field
	default:
		wrong.field = name + "." + wrong.field
	}
	return wrong
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
