package anthropic

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/genericcorp/corp/gateway/wire"
)

// Request is what the gateway must know of a request before it lets it through.
// The body itself is never decoded or written anew.
type Request struct {
	Model     string
	MaxTokens int64 // 0 when the request names none
	Stream    bool

	LongCache bool   // asks to keep something in the cache for longer than five minutes
	Unbounded string // what its size in bytes does not bound, as the end of a sentence; "" when nothing

	thinking int64 // budget of thinking tokens, which max_tokens must exceed
	images   int64
	pages    bool // carries a PDF
	tools    bool
	typed    int64 // tools of the vendor's own design, whose description it adds itself

	first        int // just behind the opening brace
	model, limit wire.Span
	hasLimit     bool
}

// Parse reads the top level of a request, and of its content no more than
// decides what it may cost. It refuses, with an invalid error, a body that is
// not strict JSON, and one that names a top-level field twice: the vendor might
// read the other one.
func Parse(body []byte, header http.Header) (Request, error) {
	r := Request{Unbounded: betas(header)}
	first, err := wire.Object(body, r.field)
	r.first = first
	if err == nil && r.Model == "" {
		err = wire.Invalid("model", "model: Field required")
	}
	return r, err
}

// betas returns what a beta header asks for that changes what tokens cost.
func betas(header http.Header) string {
	for _, line := range header.Values("Anthropic-Beta") {
		if strings.Contains(strings.ToLower(line), "context-1m") {
			return "the beta context-1m, whose long prompts cost more than the price book knows"
		}
	}
	return ""
}

// field reads one top-level field. A vendor's parser may not mind the case of a
// name, so neither does this one.
func (r *Request) field(s *wire.Scanner, key string) (err error) {
	switch key = strings.ToLower(key); key {
	case "model":
		r.model, err = s.Skip()
		if err == nil {
			r.Model, err = wire.Name(s.Bytes(r.model))
		}
	case "max_tokens":
		r.limit, err = s.Skip()
		if err == nil {
			r.hasLimit = true
			r.MaxTokens, err = wire.Count("max_tokens", s.Bytes(r.limit), wire.MaxCount)
		}
	case "stream":
		err = r.value(s, func(v []byte) { r.Stream = string(v) == "true" })
	case "thinking":
		err = r.readThinking(s)
	case "system", "messages":
		err = r.content(s)
	case "tools":
		r.tools = true
		err = s.Objects(r.tool)
	case "cache_control":
		err = r.cache(s)
	case "context_management":
		err = r.compaction(s)
	case "container", "mcp_servers", "fallbacks":
		err = r.value(s, func(v []byte) { r.unbounded(!wire.Blank(v), key) })
	case "speed", "inference_geo":
		err = r.value(s, func(v []byte) { r.surcharge(key, v) })
	default:
		_, err = s.Skip()
	}
	return err
}

// value consumes a value and shows its bytes.
func (r *Request) value(s *wire.Scanner, show func([]byte)) error {
	at, err := s.Skip()
	if err == nil {
		show(s.Bytes(at))
	}
	return err
}

func (r *Request) unbounded(is bool, what string) {
	if is && r.Unbounded == "" {
		r.Unbounded = what
	}
}

// surcharge notes what makes every token dearer by a factor that no price row knows.
func (r *Request) surcharge(key string, v []byte) {
	usual := wire.Blank(v) || string(v) == `"standard"` || string(v) == `"global"`
	r.unbounded(!usual, key+" "+strings.Trim(string(v[:min(len(v), 40)]), `"`)+", whose surcharge the price book does not know")
}

func (r *Request) readThinking(s *wire.Scanner) error {
	if s.Peek() != '{' {
		_, err := s.Skip()
		return err
	}
	return s.Object(func(key []byte) error {
		at, err := s.Skip()
		if err == nil && string(key) == "budget_tokens" {
			if n, bad := strconv.ParseInt(string(s.Bytes(at)), 10, 64); bad == nil {
				r.thinking = max(r.thinking, n)
			}
		}
		return err
	})
}

// LeastOutput returns how far the output cap may be lowered at most before the
// vendor would refuse the request: under the thinking budget it makes no sense.
func (r Request) LeastOutput(floor int64) int64 {
	least := max(floor, r.thinking+1)
	if r.MaxTokens > 0 {
		least = min(least, r.MaxTokens)
	}
	return least
}

// What a prompt can hold beyond a token per byte, in tokens. Each is well above
// what the vendor documents.
const (
	hiddenPrompt = 64     // the frame of any request
	hiddenTools  = 1_024  // the instructions that come with tools
	hiddenTyped  = 1_536  // the description of one tool of the vendor's own design
	perImage     = 10_000 // an image of the largest size, however well it packs
)

// InputBound returns the most tokens that the prompt can have. window is the
// model's context window, which is all that bounds a PDF.
func (r Request) InputBound(bodyBytes int, window int64) int64 {
	bound := int64(bodyBytes) + hiddenPrompt + r.images*perImage + r.typed*hiddenTyped
	if r.tools {
		bound += hiddenTools
	}
	if r.pages {
		bound = max(bound, window)
	}
	return bound
}

// BoundNeeds says what stops the prompt from having a bound when the context
// window is unknown; "" when nothing does.
func (r Request) BoundNeeds(window int64) string {
	if r.pages && window == 0 {
		return "a PDF for a model whose context window is not known"
	}
	return r.Unbounded
}

// Rewrite returns the body with the model's name and the output cap replaced,
// and every other byte as it was. An empty model or a cap of 0 leaves that one
// as it is. The body comes in pieces that lie in the one it was given, so that a
// large prompt is not copied.
func (r Request) Rewrite(body []byte, model string, limit int64) [][]byte {
	var edits []wire.Edit
	if model != "" && model != r.Model {
		edits = append(edits, wire.Edit{Span: r.model, Text: wire.Quote(model)})
	}
	if limit > 0 && limit != r.MaxTokens {
		text := strconv.FormatInt(limit, 10)
		if r.hasLimit {
			edits = append(edits, wire.Edit{Span: r.limit, Text: text})
		} else {
			edits = append(edits, wire.Edit{Span: wire.Span{From: r.first, To: r.first}, Text: `"max_tokens":` + text + ","})
		}
	}
	return wire.Splice(body, edits)
}
