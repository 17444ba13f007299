package vendorsim

import (
	"iter"
	"net/http"
)

// Dialect names a wire form that the vendor speaks, as the books write it.
type Dialect string

// The dialects.
const (
	DialectMessages Dialect = "anthropic" // POST /v1/messages
	DialectChat     Dialect = "openai"    // POST /v1/chat/completions
)

// speaker is all that differs between the dialects. Which rule answers, what it
// costs and what goes wrong is the same in each.
type speaker interface {
	name() Dialect
	setHeaders(x *exchange)
	admit(s *Server, x *exchange) *vendorError

	parse(body []byte) (*conversation, *vendorError)
	check(c *conversation, s *Server) *vendorError
	promptUsage(c *conversation) Usage
	prefixes() (answer, call string)

	body(a *answer) []byte
	events(a *answer) iter.Seq[event]
	endless(a *answer) (head []byte, piece func(text string) []byte)
	ping() []byte
	broken() string

	refusal(f *fault) *vendorError
	errorEvent(f *fault, requestID string) []byte
	writeError(e *vendorError, w http.ResponseWriter, requestID string)
}

// messagesDialect is the Anthropic Messages dialect.
type messagesDialect struct{}

func (messagesDialect) name() Dialect { return DialectMessages }

func (messagesDialect) parse(body []byte) (*conversation, *vendorError) { return parse(body) }

func (messagesDialect) check(c *conversation, s *Server) *vendorError {
	if err := c.check(s.combine); err != nil {
		return err
	}
	return c.checkModel(s.models)
}

func (messagesDialect) promptUsage(c *conversation) Usage { return c.inputUsage() }

func (messagesDialect) prefixes() (answer, call string) { return "msg_01", "toolu_01" }

func (messagesDialect) body(a *answer) []byte { return a.body() }

func (messagesDialect) events(a *answer) iter.Seq[event] { return a.events() }

func (messagesDialect) endless(a *answer) (head []byte, piece func(text string) []byte) {
	a.blocks = []outBlock{{kind: "text"}}
	f := &framer{a: a}
	head = append(head, f.messageStart().data...)
	head = append(head, f.blockStart(0, &a.blocks[0]).data...)
	return head, func(text string) []byte { return f.blockDelta(0, "text_delta", "text", text, true).data }
}

func (messagesDialect) ping() []byte { return pingEvent(0).data }

func (messagesDialect) broken() string { return malformedEvent }

// refusal returns what a fault of kind status or error says.
func (messagesDialect) refusal(f *fault) *vendorError {
	e := f.vendorError()
	if f.kind == faultError && e.kind == "" {
		e.kind, e.message = "overloaded_error", orText(e.message, "Overloaded")
	}
	e.kind = orText(e.kind, orText(errorTypes[e.status], "api_error"))
	e.message = orText(e.message, orText(errorTexts[e.status], http.StatusText(e.status)))
	return e
}

func (d messagesDialect) errorEvent(f *fault, requestID string) []byte {
	e := d.refusal(f)
	return append(appendErrorBody([]byte("event: error\ndata: "), e.kind, e.message, requestID), "\n\n"...)
}

// chatDialect is the OpenAI Chat Completions dialect. Its files begin with chat.
type chatDialect struct{}

func (chatDialect) name() Dialect { return DialectChat }

func (chatDialect) prefixes() (answer, call string) { return "chatcmpl-", "call_" }

func (chatDialect) ping() []byte { return []byte(": ping\n\n") }

func (chatDialect) broken() string {
	return "data: {\"id\":\"chatcmpl-broken\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"cont\n\n"
}
