package anthropic

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/genericcorp/corp"
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
	model, limit span
	hasLimit     bool
}

// Parse reads the top level of a request, and of its content no more than
// decides what it may cost. It refuses, with an invalid error, a body that is
// not strict JSON, and one that names a top-level field twice: the vendor might
// read the other one.
func Parse(body []byte, header http.Header) (Request, error) {
	r := Request{Unbounded: betas(header)}
	s := &scanner{b: body}
	if s.peek() != '{' {
		return r, invalid("", "The body is not a JSON object.")
	}
	r.first = s.i + 1
	seen := make([]string, 0, 16)
	err := s.object(func(key []byte) error {
		for _, k := range seen {
			if strings.EqualFold(k, string(key)) {
				return invalid(k, "The field "+strconv.Quote(k)+" stands in the request twice.")
			}
		}
		seen = append(seen, string(key))
		return r.field(s, string(key))
	})
	if s.space(); err == nil && s.i < len(body) {
		err = errJSON
	}
	if err == errJSON { //nolint:errorlint // the scanner returns this very value
		err = invalid("", "The body is not valid JSON.")
	}
	if err == nil && r.Model == "" {
		err = invalid("model", "model: Field required")
	}
	return r, err
}

func invalid(field, message string) error {
	return corp.Invalid(field, message, "Send the request as the vendor documents it.")
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
func (r *Request) field(s *scanner, key string) (err error) {
	switch key = strings.ToLower(key); key {
	case "model":
		r.model, err = s.skip()
		if err == nil {
			err = r.readModel(s.b[r.model.from:r.model.to])
		}
	case "max_tokens":
		r.limit, err = s.skip()
		if err == nil {
			r.hasLimit = true
			r.MaxTokens, err = count(s.b[r.limit.from:r.limit.to])
		}
	case "stream":
		err = r.value(s, func(v []byte) { r.Stream = string(v) == "true" })
	case "thinking":
		err = r.readThinking(s)
	case "system", "messages":
		err = r.content(s)
	case "tools":
		r.tools = true
		err = s.eachObject(r.tool)
	case "cache_control":
		err = r.cache(s)
	case "context_management":
		err = r.compaction(s)
	case "container", "mcp_servers", "fallbacks":
		err = r.value(s, func(v []byte) { r.unbounded(!blank(v), key) })
	case "speed", "inference_geo":
		err = r.value(s, func(v []byte) { r.surcharge(key, v) })
	default:
		_, err = s.skip()
	}
	return err
}

// value consumes a value and shows its bytes.
func (r *Request) value(s *scanner, show func([]byte)) error {
	at, err := s.skip()
	if err == nil {
		show(s.b[at.from:at.to])
	}
	return err
}

func blank(v []byte) bool {
	text := string(v)
	return text == "null" || text == "[]" || text == "{}" || text == `""`
}

func (r *Request) unbounded(is bool, what string) {
	if is && r.Unbounded == "" {
		r.Unbounded = what
	}
}

// surcharge notes what makes every token dearer by a factor that no price row knows.
func (r *Request) surcharge(key string, v []byte) {
	usual := blank(v) || string(v) == `"standard"` || string(v) == `"global"`
	r.unbounded(!usual, key+" "+strings.Trim(string(v[:min(len(v), 40)]), `"`)+", whose surcharge the price book does not know")
}

func (r *Request) readModel(raw []byte) error {
	s := &scanner{b: raw}
	name, err := s.text()
	if err != nil || len(name) == 0 || len(name) > 200 {
		return invalid("model", "model: Input should be a string of 1 to 200 characters")
	}
	r.Model = string(name)
	return nil
}

// count reads a whole number; null is 0. Anything that a lenient parser might
// still take for a number is refused, because the limit is what bounds the cost.
func count(raw []byte) (int64, error) {
	if string(raw) == "null" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 1 || n > 1<<40 {
		return 0, invalid("max_tokens", "max_tokens: Input should be a whole number greater than 0")
	}
	return n, nil
}

func (r *Request) readThinking(s *scanner) error {
	if s.peek() != '{' {
		_, err := s.skip()
		return err
	}
	return s.object(func(key []byte) error {
		at, err := s.skip()
		if err == nil && string(key) == "budget_tokens" {
			if n, bad := strconv.ParseInt(string(s.b[at.from:at.to]), 10, 64); bad == nil {
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
	type edit struct {
		span
		text string
	}
	var edits []edit
	if model != "" && model != r.Model {
		edits = append(edits, edit{r.model, quote(model)})
	}
	if limit > 0 && limit != r.MaxTokens {
		text := strconv.FormatInt(limit, 10)
		switch {
		case r.hasLimit:
			edits = append(edits, edit{r.limit, text})
		default:
			edits = append(edits, edit{span{r.first, r.first}, `"max_tokens":` + text + ","})
		}
	}
	if len(edits) == 2 && edits[0].from > edits[1].from {
		edits[0], edits[1] = edits[1], edits[0]
	}
	pieces := make([][]byte, 0, 2*len(edits)+1)
	at := 0
	for _, e := range edits {
		pieces = append(pieces, body[at:e.from], []byte(e.text))
		at = e.to
	}
	return append(pieces, body[at:])
}
