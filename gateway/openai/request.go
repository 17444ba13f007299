package openai

import (
	"strconv"
	"strings"

	"github.com/genericcorp/corp/gateway/wire"
)

// The names of the output cap. Servers that grew up beside the vendor may know
// the old one only and pass over the other; the vendor's models that reason take
// the new one only.
const (
	oldCap = "max_tokens"
	newCap = "max_completion_tokens"
)

// Vendor is whose models take the new cap. All others know the old one.
const Vendor = "openai"

// maxChoices bounds n, so that products stay far from overflow.
const maxChoices = 1_000

// Request is what the gateway must know of a request before it lets it through.
// The body itself is never decoded or written anew.
type Request struct {
	Model   string
	Stream  bool
	Choices int64 // answers to the same prompt, each of which is paid for; at least 1

	LongCache bool   // asks to keep something in the cache for longer than usual
	Unbounded string // what its size in bytes does not bound, as the end of a sentence; "" when nothing

	oldLimit, newLimit int64 // 0 when the request does not name it
	asksUsage          bool  // a stream's usage is asked for
	images             int64
	tools              bool

	first          int // just behind the opening brace
	model          wire.Span
	oldAt, newAt   wire.Span
	hasOld, hasNew bool
	options        wire.Span // the value of stream_options
	hasOptions     bool
	include        wire.Span // the value of include_usage in it
	hasInclude     bool
	inside         int  // just behind the opening brace of stream_options; 0 when it is no object
	emptyOptions   bool // it is {}
}

// Parse reads the top level of a request, and of its content no more than
// decides what it may cost. It refuses, with an invalid error, a body that is
// not strict JSON, and one that names a field twice that decides the cost or is
// edited: the vendor might read the other one.
func Parse(body []byte) (Request, error) {
	r := Request{Choices: 1}
	first, err := wire.Object(body, r.field)
	r.first = first
	if err == nil && r.Model == "" {
		err = wire.Invalid("model", "you must provide a model parameter")
	}
	return r, err
}

// edited are the fields that the gateway relies on. Some servers mind the case of
// a name and others do not, so these must be spelled as the vendor spells them.
var edited = map[string]bool{
	"model": true, oldCap: true, newCap: true, "n": true, "stream": true, "stream_options": true, includeUsage: true,
}

const includeUsage = "include_usage"

func spelled(key string) error {
	if low := strings.ToLower(key); low != key && edited[low] {
		return wire.Invalid(low, "The field "+strconv.Quote(key)+" is spelled "+strconv.Quote(low)+".")
	}
	return nil
}

// field reads one top-level field. A vendor's parser may not mind the case of a
// name, so neither does this one.
func (r *Request) field(s *wire.Scanner, key string) (err error) {
	if err := spelled(key); err != nil {
		return err
	}
	switch key = strings.ToLower(key); key {
	case "model":
		if r.model, err = s.Skip(); err == nil {
			r.Model, err = wire.Name(s.Bytes(r.model))
		}
	case oldCap:
		r.hasOld = true
		r.oldAt, r.oldLimit, err = count(s, key, wire.MaxCount)
	case newCap:
		r.hasNew = true
		r.newAt, r.newLimit, err = count(s, key, wire.MaxCount)
	case "n", "best_of":
		var n int64
		_, n, err = count(s, key, maxChoices)
		r.Choices = max(r.Choices, n)
	case "stream":
		err = r.value(s, func(v []byte) { r.Stream = string(v) == "true" })
	case "stream_options":
		err = r.streamOptions(s)
	case "messages":
		err = r.content(s)
	case "tools":
		r.tools = true
		err = s.Objects(r.tool)
	case "functions", "response_format":
		r.tools = true
		_, err = s.Skip()
	case "prompt_cache_retention":
		err = r.value(s, func(v []byte) {
			r.LongCache = r.LongCache || !wire.Blank(v) && string(v) != `"in_memory"` && string(v) != `"in-memory"`
		})
	default:
		err = r.extra(s, key)
	}
	return err
}

// count consumes a whole number.
func count(s *wire.Scanner, field string, most int64) (at wire.Span, n int64, err error) {
	if at, err = s.Skip(); err == nil {
		n, err = wire.Count(field, s.Bytes(at), most)
	}
	return at, n, err
}

// value consumes a value and shows its bytes.
func (r *Request) value(s *wire.Scanner, show func([]byte)) error {
	at, err := s.Skip()
	if err == nil {
		show(s.Bytes(at))
	}
	return err
}

// streamOptions finds where a stream's usage is asked for. The name must stand
// there once: which of two a server believes, nobody knows.
func (r *Request) streamOptions(s *wire.Scanner) error {
	if s.Peek() != '{' {
		at, err := s.Skip()
		r.options, r.hasOptions = at, true
		return err
	}
	from := s.At()
	r.inside, r.hasOptions, r.emptyOptions = from+1, true, true
	err := s.Object(func(key []byte) error {
		r.emptyOptions = false
		at, err := s.Skip()
		if err == nil {
			err = spelled(string(key))
		}
		if err != nil || string(key) != includeUsage {
			return err
		}
		if r.hasInclude {
			return wire.Invalid("stream_options.include_usage", "The field \"include_usage\" stands in the request twice.")
		}
		r.include, r.hasInclude = at, true
		r.asksUsage = string(s.Bytes(at)) == "true"
		return nil
	})
	r.options = wire.Span{From: from, To: s.At()}
	return err
}

// MaxTokens returns the output cap of one answer; 0 when the request names none.
// Where it names two, a server may obey either.
func (r Request) MaxTokens() int64 { return max(r.oldLimit, r.newLimit) }

// Capped says whether a vendor obeys the output cap as the request names it.
func (r Request) Capped(vendor string) bool {
	if vendor == Vendor {
		return r.MaxTokens() > 0
	}
	return r.oldLimit > 0
}

// AddsUsage says whether the gateway must ask for the usage in the client's
// place, and take the answer to that out again.
func (r Request) AddsUsage() bool { return r.Stream && !r.asksUsage }

// LeastOutput returns how far the output cap may sink, at least to floor.
func (r Request) LeastOutput(floor int64) int64 {
	if limit := r.MaxTokens(); limit > 0 {
		return min(floor, limit)
	}
	return floor
}

// What a prompt can hold beyond a token per byte, in tokens. Each is well above
// what vendors document.
const (
	hiddenPrompt = 512    // the frame of any request, and what templates of open models add to it
	hiddenTools  = 1_024  // the instructions that come with tools or a form of answer
	perImage     = 65_536 // an image of the largest size, of the model that counts it dearest
)

// InputBound returns the most tokens that the prompt can have.
func (r Request) InputBound(bodyBytes int) int64 {
	bound := int64(bodyBytes) + hiddenPrompt + r.images*perImage
	if r.tools {
		bound += hiddenTools
	}
	return bound
}

// Rewrite returns the body with the model's name ("" keeps it) and the output cap
// (0 keeps it) replaced, a stream's usage asked for, and every other byte as it
// was, in pieces that lie in it. The cap goes by the name that the vendor obeys,
// beside the one that the request has.
func (r Request) Rewrite(body []byte, model string, limit int64, vendor string) [][]byte {
	var edits []wire.Edit
	if model != "" && model != r.Model {
		edits = append(edits, wire.Edit{Span: r.model, Text: wire.Quote(model)})
	}
	front := ""
	if limit > 0 {
		text := strconv.FormatInt(limit, 10)
		if r.hasOld && r.oldLimit > 0 && r.oldLimit != limit {
			edits = append(edits, wire.Edit{Span: r.oldAt, Text: text})
		}
		if r.hasNew && r.newLimit > 0 && r.newLimit != limit {
			edits = append(edits, wire.Edit{Span: r.newAt, Text: text})
		}
		if !r.Capped(vendor) {
			edits, front = r.addCap(edits, text, vendor)
		}
	}
	if r.AddsUsage() {
		var more string
		edits, more = r.askUsage(edits)
		front += more
	}
	if front != "" {
		edits = append(edits, wire.Edit{Span: wire.Span{From: r.first, To: r.first}, Text: front})
	}
	return wire.Splice(body, edits)
}

// addCap names the cap by the vendor's name: in place of a null, or as a new field.
func (r Request) addCap(edits []wire.Edit, text, vendor string) (_ []wire.Edit, front string) {
	name, at, has := oldCap, r.oldAt, r.hasOld
	if vendor == Vendor {
		name, at, has = newCap, r.newAt, r.hasNew
	}
	if has {
		return append(edits, wire.Edit{Span: at, Text: text}), ""
	}
	return edits, `"` + name + `":` + text + ","
}

// askUsage makes stream_options ask for the usage, with as few new bytes as it takes.
func (r Request) askUsage(edits []wire.Edit) (_ []wire.Edit, front string) {
	const ask = `"` + includeUsage + `":true`
	switch {
	case !r.hasOptions:
		return edits, `"stream_options":{` + ask + `},`
	case r.inside == 0: // null, or what no server takes for options
		return append(edits, wire.Edit{Span: r.options, Text: "{" + ask + "}"}), ""
	case r.hasInclude:
		return append(edits, wire.Edit{Span: r.include, Text: "true"}), ""
	case r.emptyOptions:
		return append(edits, wire.Edit{Span: wire.Span{From: r.inside, To: r.inside}, Text: ask}), ""
	default:
		return append(edits, wire.Edit{Span: wire.Span{From: r.inside, To: r.inside}, Text: ask + ","}), ""
	}
}
