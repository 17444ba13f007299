package vendorsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxInputDepth bounds the nesting of a tool's input.
const maxInputDepth = 64

// toolCall is one scripted call: its input is either a tree, kept in the order
// of the file, or a template that renders to a JSON object.
type toolCall struct {
	name snippet
	id   string
	tree *inputValue
	json snippet
}

// inputValue is a JSON value whose texts may be templates. Exactly one of the
// fields is meaningful: raw if set, then object, array, text.
type inputValue struct {
	raw    string
	object []inputMember
	array  []inputValue
	isObj  bool
	isArr  bool
	text   snippet
}

type inputMember struct {
	key   string
	value inputValue
}

// parseInput turns YAML into a tree.
func parseInput(n *yaml.Node, known capture, depth int) (inputValue, error) {
	if depth > maxInputDepth {
		return inputValue{}, fmt.Errorf("line %d: the input is nested deeper than %d", n.Line, maxInputDepth)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return parseInputObject(n, known, depth)
	case yaml.SequenceNode:
		v := inputValue{isArr: true}
		for _, item := range n.Content {
			child, err := parseInput(item, known, depth+1)
			if err != nil {
				return inputValue{}, err
			}
			v.array = append(v.array, child)
		}
		return v, nil
	case yaml.ScalarNode:
		return parseInputScalar(n, known)
	default:
		return inputValue{}, fmt.Errorf("line %d: anchors are not allowed in an input", n.Line)
	}
}

func parseInputObject(n *yaml.Node, known capture, depth int) (inputValue, error) {
	v := inputValue{isObj: true}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || seen[key.Value] {
			return inputValue{}, fmt.Errorf("line %d: an input's keys are texts, each once", key.Line)
		}
		seen[key.Value] = true
		child, err := parseInput(n.Content[i+1], known, depth+1)
		if err != nil {
			return inputValue{}, err
		}
		v.object = append(v.object, inputMember{key.Value, child})
	}
	return v, nil
}

func parseInputScalar(n *yaml.Node, known capture) (inputValue, error) {
	switch n.Tag {
	case "!!null":
		return inputValue{raw: "null"}, nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return inputValue{}, fmt.Errorf("line %d: %w", n.Line, err)
		}
		return inputValue{raw: strconv.FormatBool(b)}, nil
	case "!!int", "!!float":
		return parseInputNumber(n)
	default:
		text, err := parseSnippet(n.Value, known)
		if err != nil {
			return inputValue{}, fmt.Errorf("line %d: %w", n.Line, err)
		}
		return inputValue{text: text}, nil
	}
}

// parseInputNumber keeps a number's digits if JSON can write them the same way.
func parseInputNumber(n *yaml.Node) (inputValue, error) {
	if json.Valid([]byte(n.Value)) {
		return inputValue{raw: n.Value}, nil
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return inputValue{}, fmt.Errorf("line %d: %q is no number in JSON", n.Line, n.Value)
	}
	return inputValue{raw: strconv.FormatFloat(f, 'g', -1, 64)}, nil
}

// append renders the value as JSON.
func (v *inputValue) append(dst []byte, sc *scene) ([]byte, error) {
	var err error
	switch {
	case v.raw != "":
		return append(dst, v.raw...), nil
	case v.isObj:
		dst = append(dst, '{')
		for i := range v.object {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, v.object[i].key), ':')
			if dst, err = v.object[i].value.append(dst, sc); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	case v.isArr:
		dst = append(dst, '[')
		for i := range v.array {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = v.array[i].append(dst, sc); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	default:
		text, err := v.text.render(sc)
		if err != nil {
			return nil, err
		}
		return appendString(dst, text), nil
	}
}

// errNotObject reports an input_json that is no JSON object.
var errNotObject = errors.New("input_json does not make a JSON object")

// render returns the input as JSON text.
func (t *toolCall) render(sc *scene) (string, error) {
	if t.tree != nil {
		b, err := t.tree.append(nil, sc)
		return string(b), err
	}
	text, err := t.json.render(sc)
	if err != nil {
		return "", err
	}
	return text, checkObject(text)
}

func checkObject(text string) error {
	if !strings.HasPrefix(strings.TrimSpace(text), "{") || !json.Valid([]byte(text)) {
		return errNotObject
	}
	return nil
}
